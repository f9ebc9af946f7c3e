//! nic-agent: the control plane on the card.
//!
//! It serves nic.v1, keeps the configuration in a store, and keeps nic-datapath at the newest revision. On a
//! card with slots it updates the card's software, and blesses a version that does its work. This crate is
//! wiring; what it wires is in [`bindings`], [`boot`], [`feed`], [`figures`], [`launch`], [`slots`] and [`trial`].
//!
//! It may be killed at any time: what was acknowledged is on disk, and nic-datapath goes on by its last
//! policy until the next start.
//!
//! **May know:** the API, the store, the compiler, the link, the page of metrics, the slots. **May not know:**
//! DPDK, flows' insides, hardware.

#![forbid(unsafe_code)]

mod bindings;
mod boot;
mod feed;
mod figures;
mod launch;
mod options;
mod slots;
mod trial;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Parser;
use nic_api::{Configuration, Datapath, Gate, Health, Role, ServeError};
use nic_link::client;
use nic_process::{log, signals, socket};
use nic_store::Store;
use nic_update::Folders;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};

use bindings::{Configured, Linked};
use feed::Feed;
use figures::{Counted, Figures};
use options::{Address, Options};

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
    let slots = slots::open(options);
    if let Ok(slots) = slots.as_ref()
        && options.launch
    {
        launch::become_best(options, slots);
    }
    let (store, kept) = slots::open_store(options, slots.as_ref().ok())?;
    let store = Arc::new(store);
    tracing::info!(store = %store.id(), revision = store.state().revision().0, "store open");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(options, &store, slots, kept));
    // Transactions that are under way end on disk before the process does.
    runtime.shutdown_timeout(Duration::from_secs(5));
    served
}

async fn serve(
    options: &Options,
    store: &Arc<Store>,
    slots: Result<Folders, String>,
    kept: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let version = &slots::version(options, slots.as_ref().ok());
    let (feed, follow) = Feed::new(Arc::clone(store));
    let link = client::Config {
        socket: options.datapath.clone(),
        // What took the store's place is older, or another, than what nic-datapath has.
        adopt: options.adopt || !kept,
        version: version.to_owned(),
    };
    let (datapath, keep_in_step) = client::run(link, feed);
    let (stop, stopped) = watch::channel(false);
    let started = SystemTime::now();
    let configuration: Arc<dyn Configuration> =
        Arc::new(Configured { store: Arc::clone(store), stopped: stopped.clone() });
    let linked: Arc<dyn Datapath> = Arc::new(Linked(datapath.clone()));
    let health = Health::new(Arc::clone(&configuration), Arc::clone(&linked));
    let health = Arc::new(health.after(boot::faults(options.boot_notes.as_deref())));
    let (figures, count_restarts) = Figures::new(Arc::clone(store), datapath, Arc::clone(&health));
    tokio::spawn(follow);
    tokio::spawn(keep_in_step);
    tokio::spawn(count_restarts);
    tokio::spawn(watch_over(Arc::clone(&health)));
    let again = Arc::new(Notify::new());
    let (slots, trial) = slots::serve(options, slots, store, Arc::clone(&again));
    if let (Some(trial), Some(door)) = (trial, options.listen.first()) {
        let watched = trial::Watched {
            configuration: Arc::clone(&configuration),
            datapath: Arc::clone(&linked),
            door: door.clone(),
            management: options.management_interface.clone(),
        };
        tokio::spawn(trial::run(trial, watched));
    }
    let routes = nic_api::routes(configuration, linked, health, slots, version.to_owned(), started).await?;
    let calls = Arc::new(figures::calls(nic_api::methods()?));

    let mut doors = Doors { files: Vec::new(), open: JoinSet::new(), stopped };
    for address in &options.listen {
        // Whoever may open a door is the owner, so far.
        let gate = Gate::new(Role::Owner).observed_by(Arc::new(Counted(Arc::clone(&calls))));
        doors.open(address, routes.clone(), gate).await?;
    }
    if let Some(address) = &options.metrics_listen {
        doors.open_metrics(address, Arc::new(figures), calls, started).await?;
    }
    let mut told = signals::Stop::new()?;
    signals::ready();
    tokio::select! {
        door = doors.open.join_next() => {
            door.transpose()?.transpose()?;
            return Err("a door closed by itself".into());
        }
        () = told.wait() => {}
        // Whoever started this process does so again.
        () = again.notified() => tracing::info!("ending, to be started again"),
    }
    signals::stopping();
    tracing::info!("stopping; nic-datapath goes on by its last policy");
    stop.send_replace(true);
    let closing = async { while doors.open.join_next().await.is_some() {} };
    // Streams that never end do not keep the process.
    let _ = tokio::time::timeout(Duration::from_secs(2), closing).await;
    drop(doors.files);
    Ok(())
}

/// Looks at the card's health as long as the process lives.
async fn watch_over(health: Arc<Health>) {
    loop {
        // First the datapath has the time to be found.
        tokio::time::sleep(HEALTH_INTERVAL).await;
        health.look();
        signals::alive();
    }
}

/// Everything that is served, until told to stop.
struct Doors {
    files: Vec<socket::SocketFile>,
    open: JoinSet<Result<(), ServeError>>,
    stopped: watch::Receiver<bool>,
}

/// A socket that is listened on.
enum Listener {
    Unix(UnixListenerStream),
    Loopback(TcpListenerStream),
}

impl Doors {
    fn until(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopped = self.stopped.clone();
        async move {
            // The sender lives until all doors are closed.
            let _ = stopped.wait_for(|stop| *stop).await;
        }
    }

    async fn listen(&mut self, address: &Address) -> Result<Listener, Box<dyn std::error::Error>> {
        Ok(match address {
            Address::Unix(path) => {
                let (listener, file) = socket::listen(path, SOCKET_MODE)?;
                self.files.push(file);
                Listener::Unix(UnixListenerStream::new(listener))
            }
            Address::Loopback(address) => {
                Listener::Loopback(TcpListenerStream::new(TcpListener::bind(address).await?))
            }
        })
    }

    /// Serves nic.v1 at one address.
    async fn open(
        &mut self,
        address: &Address,
        routes: tonic::service::Routes,
        gate: Gate,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let (listener, until) = (self.listen(address).await?, self.until());
        tracing::info!(%address, "serving nic.v1");
        match listener {
            Listener::Unix(incoming) => {
                self.open.spawn(nic_api::serve(routes, gate, incoming, until));
            }
            Listener::Loopback(incoming) => {
                self.open.spawn(nic_api::serve(routes, gate, incoming, until));
            }
        }
        Ok(())
    }

    /// Serves metrics at one address.
    async fn open_metrics(
        &mut self,
        address: &Address,
        figures: Arc<Figures>,
        calls: Arc<nic_metrics::Calls>,
        started: SystemTime,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let (listener, until) = (self.listen(address).await?, self.until());
        tracing::info!(%address, "serving metrics");
        self.open.spawn(async move {
            match listener {
                Listener::Unix(incoming) => {
                    nic_metrics::serve(figures, calls, started, incoming, until).await;
                }
                Listener::Loopback(incoming) => {
                    nic_metrics::serve(figures, calls, started, incoming, until).await;
                }
            }
            Ok(())
        });
        Ok(())
    }
}
