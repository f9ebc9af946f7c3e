//! nic-agent: the control plane on the card.
//!
//! It serves nic.v1, keeps the configuration in a store, and keeps nic-datapath at the newest
//! revision. This crate is wiring; what it wires is in [`bindings`] and [`feed`].
//!
//! It may be killed at any time: what was acknowledged is on disk, and nic-datapath goes on by its last
//! policy until the next start.
//!
//! **May know:** the API, the store, the compiler, the link. **May not know:** DPDK, flows' insides,
//! hardware.

#![forbid(unsafe_code)]

mod bindings;
mod feed;
mod options;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Parser;
use nic_api::{Configuration, Datapath, Health, Role, ServeError};
use nic_link::client;
use nic_process::{log, signals, socket};
use nic_store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};

use bindings::{Configured, Linked};
use feed::Feed;
use options::{Address, Options};

/// The store's file in its folder.
const STORE: &str = "store.redb";
/// How often what may be wrong is looked at, whether or not somebody asks.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// The process's user and group may configure the card.
const SOCKET_MODE: u32 = 0o660;

fn main() -> ExitCode {
    let options = Options::parse();
    log::start(if options.log_json { log::Format::Json } else { log::Format::Text });
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = error.as_ref(), "nic-agent ends");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(&options.state_dir)?;
    let store = Arc::new(Store::open(&options.state_dir.join(STORE))?);
    tracing::info!(store = %store.id(), revision = store.state().revision().0, "store open");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(options, &store));
    // Transactions that are under way end on disk before the process does.
    runtime.shutdown_timeout(Duration::from_secs(5));
    served
}

async fn serve(options: &Options, store: &Arc<Store>) -> Result<(), Box<dyn std::error::Error>> {
    let version = env!("CARGO_PKG_VERSION");
    let (feed, follow) = Feed::new(Arc::clone(store));
    let link = client::Config {
        socket: options.datapath.clone(),
        adopt: options.adopt,
        version: version.to_owned(),
    };
    let (datapath, keep_in_step) = client::run(link, feed);
    tokio::spawn(follow);
    tokio::spawn(keep_in_step);
    let (stop, stopped) = watch::channel(false);
    let configuration: Arc<dyn Configuration> =
        Arc::new(Configured { store: Arc::clone(store), stopped: stopped.clone() });
    let datapath: Arc<dyn Datapath> = Arc::new(Linked(datapath));
    let health = Arc::new(Health::new(Arc::clone(&configuration), Arc::clone(&datapath)));
    tokio::spawn(watch_over(Arc::clone(&health)));
    let routes =
        nic_api::routes(configuration, datapath, health, version.to_owned(), SystemTime::now()).await?;

    let mut doors = JoinSet::new();
    let mut files = Vec::new();
    for address in &options.listen {
        open_door(&mut files, &mut doors, address, routes.clone(), stopped.clone()).await?;
    }
    let mut told = signals::Stop::new()?;
    signals::ready();
    tokio::select! {
        door = doors.join_next() => {
            door.transpose()?.transpose()?;
            return Err("a door closed by itself".into());
        }
        () = told.wait() => {}
    }
    signals::stopping();
    tracing::info!("stopping; nic-datapath goes on by its last policy");
    stop.send_replace(true);
    let closing = async { while doors.join_next().await.is_some() {} };
    // Streams that never end do not keep the process.
    let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
    drop(files);
    Ok(())
}

/// Looks at the card's health as long as the process lives.
async fn watch_over(health: Arc<Health>) {
    loop {
        // First the datapath has the time to be found.
        tokio::time::sleep(HEALTH_INTERVAL).await;
        health.look();
    }
}

/// Serves at one address until told to stop. Whoever may open the door is the owner, so far.
async fn open_door(
    files: &mut Vec<socket::SocketFile>,
    doors: &mut JoinSet<Result<(), ServeError>>,
    address: &Address,
    routes: tonic::service::Routes,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error>> {
    let until = async move {
        // The sender lives until all doors are closed.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    match address {
        Address::Unix(path) => {
            let (listener, file) = socket::listen(path, SOCKET_MODE)?;
            files.push(file);
            let incoming = UnixListenerStream::new(listener);
            tracing::info!(socket = %path.display(), "serving nic.v1");
            doors.spawn(nic_api::serve(routes, Role::Owner, incoming, until));
        }
        Address::Loopback(address) => {
            let incoming = TcpListenerStream::new(TcpListener::bind(address).await?);
            tracing::info!(%address, "serving nic.v1");
            doors.spawn(nic_api::serve(routes, Role::Owner, incoming, until));
        }
    }
    Ok(())
}
