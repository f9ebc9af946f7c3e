//! nic-datapath: owns the card's E-Switch.
//!
//! This crate binds the slow path to DPDK and to the socket that nic-agent talks to; it is wiring,
//! and decides nothing about packets.
//!
//! | thread | does |
//! |---|---|
//! | `worker-0` | packets: [`nic_slowpath::Worker`] over [`io::Io`]; sleeps when nothing comes |
//! | `offload` | rules and counters: [`nic_slowpath::Installer`] over [`nic_offload::Sink`] |
//! | `policy-disk` | keeps the policy in force on disk: [`nic_checkpoint`] |
//! | main | nic.datapath.v1 on a unix socket: [`control::Control`] on a current-thread runtime |
//! | `eal-main` | DPDK's own, asleep |
//!
//! **May know:** every crate below it. **May not know:** resources, the store, that the E-Switch may be
//! the software one: `net_eswitch` is registered with DPDK like a driver that is linked in, and found
//! like any other.

#![forbid(unsafe_code)]

mod alarms;
mod auditor;
mod capture;
mod control;
mod io;
mod management;
mod offloader;
mod options;
mod ports;
mod sleep;
mod worker;

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Parser;
use dpdk::Eal;
use nic_checkpoint::Opened;
use nic_flow::PortId;
use nic_link::server::InForce;
use nic_offload::{Sink, capability};
use nic_pipeline::Snapshot;
use nic_policy::{CapabilityTable, Management};
use nic_process::{log, signals, socket};
use nic_slowpath::{Config, Installer, InstallerConfig, InstallerCounters, Worker};
use tokio::sync::{Mutex, watch};
use tokio_stream::wrappers::UnixListenerStream;

use alarms::Board;
use auditor::Auditor;
use capture::Capture;
use control::{Control, ControlPort};
use io::{Io, PortQueues};
use management::{Exception, Seen};
use options::Options;
use ports::{Buffers, ESwitch, Started};
use sleep::{Bed, Waker};
use worker::Commands;

/// How often links, MTUs and what may be wrong are looked at.
const DEVICE_INTERVAL: Duration = Duration::from_secs(1);
/// How often flows are held against rules.
const AUDIT_INTERVAL: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let options = Options::parse();
    log::start(if options.log_json { log::Format::Json } else { log::Format::Text });
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = error.as_ref(), "nic-datapath ends");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let policy = nic_checkpoint::open(&options.state_dir)?;
    net_eswitch::register();
    let eal = Eal::init(&options.eal())?;
    let buffers = Buffers { mbufs: options.mbufs, waiting: options.max_waiting };
    let switch = ports::open(&eal, buffers, &options.mtu)?;
    let Running { control, threads } = start(&eal, switch, policy, options)?;
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(options, Arc::new(control)));
    // The last sender of commands went with the service: the worker ends, then the offload thread, and
    // with it the rules, then the ports.
    for thread in threads {
        if thread.join().is_err() {
            return Err("a thread panicked".into());
        }
    }
    served
}

/// The slow path at work.
struct Running {
    control: Control,
    /// In the order in which they end.
    threads: Vec<JoinHandle<()>>,
}

/// The exception port, if one is asked for and can be had. The E-Switch forwards whatever becomes of the way to
/// the card's own kernel: a wrong word in a card's parameters must not cost it its packets.
fn reach_in_band(options: &Options, started: &[Started]) -> Option<(Management, Exception, Seen)> {
    let opened = management::open(options.management.as_ref()?, started);
    opened.inspect_err(|error| tracing::error!(%error, "the card's own kernel is not reached in band")).ok()
}

/// Starts the worker, the offload thread and the one that writes the policy.
fn start(
    eal: &Eal,
    switch: ESwitch,
    policy: Opened,
    options: &Options,
) -> Result<Running, Box<dyn std::error::Error>> {
    let ESwitch { ports: started, proxy, driver, pool } = switch;
    if started.len() > io::MAX_PORTS {
        return Err(format!("more than {} ports", io::MAX_PORTS).into());
    }
    let ids: Vec<_> = started.iter().map(|port| port.id).collect();
    let (managed, exception, seen) = match reach_in_band(options, &started) {
        Some((managed, port, seen)) => (Some(managed), Some(port), Some(seen)),
        None => (None, None, None),
    };
    let sink = Sink::new(proxy, started.iter().map(|port| (port.id, port.port.id())).collect());
    let rows = capability::probe(&sink);
    let capabilities = CapabilityTable { driver, dpdk_version: eal.version(), rows };

    let interrupts = started.iter().all(|port| port.interrupts);
    let (queues, ports) = part(started);
    let exceptional = managed.map(|_| PortId::MANAGEMENT);
    let captured: Vec<_> = ids.iter().copied().chain(exceptional).collect();
    let capture = options.capture.as_ref().map(|path| Capture::create(path, &captured)).transpose()?;
    let mut io = Io::new(queues, exception, pool, capture);
    let waker = Waker::new()?;
    let bed = if options.busy_poll { None } else { Some(Bed::new(&waker, io.receivers(), interrupts)?) };
    if let (Some(bed), Some(exception)) = (&bed, io.exception()) {
        bed.watch(exception.event())?;
    }

    // Which devices there are is part of what packets are translated by; the first packet meets the policy
    // of the disk already.
    let (mut snapshot, touched) = Snapshot::empty().with_management(managed).with_devices(&ids);
    let epoch = Instant::now();
    let mut slow_path = Worker::new(io, slow_path_config(options));
    let mut publication = slow_path.publish(snapshot.clone(), &touched, epoch.elapsed());
    let mut in_force = InForce::default();
    if let Some(loaded) = policy.loaded() {
        let (restored, touched) = snapshot.apply(&loaded.delta)?;
        publication = slow_path.publish(restored.clone(), &touched, epoch.elapsed());
        snapshot = restored;
        in_force = InForce { store: Some(loaded.store), revision: loaded.delta.revision };
    }
    let keeper = policy.keep(publication)?;
    let installer =
        InstallerConfig { counter_interval: options.counter_interval(), ..InstallerConfig::default() };

    let (commands, commands_rx) = crossbeam_channel::unbounded();
    let (requests, requests_rx) = crossbeam_channel::bounded(worker::REQUESTS);
    let (completions, completions_rx) = crossbeam_channel::unbounded();
    let (offloads, offloads_rx) = crossbeam_channel::unbounded();
    let (counted, counted_rx) = watch::channel(InstallerCounters::default());
    let (settled, settled_rx) = watch::channel(0);
    let offloader = offloader::Context {
        installer: Installer::new(sink.clone(), installer),
        epoch,
        requests: requests_rx,
        commands: offloads_rx,
        completions,
        counted,
        waker: waker.clone(),
    };
    let context = worker::Context {
        worker: slow_path,
        epoch,
        bed,
        cpu: options.worker_cpu,
        commands: commands_rx,
        completions: completions_rx,
        requests,
        settled,
    };
    let threads = vec![worker::spawn(eal, context)?, offloader::spawn(offloader)?];
    let commands = Commands { queue: commands, waker };
    let control = Control {
        auditor: Auditor::new(commands.clone(), offloader::Commands(offloads), counted_rx),
        commands,
        snapshot: Mutex::new(snapshot),
        in_force: watch::Sender::new(in_force),
        settled: settled_rx,
        keeper,
        devices: watch::Sender::new(Vec::new()),
        board: Board::new(),
        capabilities,
        sink,
        ports,
        exception: seen,
        instance: nic_link::new_uuid(),
    };
    control.refresh_devices();
    Ok(Running { control, threads })
}

/// Parts what the worker needs of the ports from what the control thread needs.
fn part(started: Vec<Started>) -> (Vec<PortQueues>, Vec<ControlPort>) {
    let mut queues = Vec::new();
    let mut ports = Vec::new();
    for Started { id, port, queues: own, .. } in started {
        let segmented = Arc::new(AtomicU64::new(0));
        // Each port was started with one queue of each kind.
        if let (Some(rx), Some(tx)) = (own.rx.into_iter().next(), own.tx.into_iter().next()) {
            queues.push(PortQueues { id, rx, tx, segmented: Arc::clone(&segmented) });
        }
        ports.push(ControlPort { id, port, segmented });
    }
    (queues, ports)
}

/// What tables hash with. Whoever sends packets must not be able to guess it: the standard library's keys are
/// the system's randomness, the time only makes two of one process differ.
fn seed() -> u64 {
    RandomState::new().hash_one(Instant::now())
}

fn slow_path_config(options: &Options) -> Config {
    Config {
        seed: seed(),
        offload: !options.no_offload,
        flows: options.max_flows,
        flows_per_port: options.max_flows / 2,
        full_key_flows: options.max_flows / 16,
        rules: options.max_rules,
        idle_timeout: options.idle_timeout(),
        counter_staleness: options.counter_interval() * 2,
        fdb_entries: options.max_fdb_entries,
        neighbor_interval: Duration::from_millis(options.neighbor_interval_ms),
        neighbor_tries: options.neighbor_tries,
        neighbor_reachable: Duration::from_millis(options.neighbor_reachable_ms),
        neighbor_failed: Duration::from_millis(options.neighbor_failed_ms),
        waiting: options.max_waiting,
        ..Config::default()
    }
}

/// Serves until a signal says stop.
async fn serve(options: &Options, control: Arc<Control>) -> Result<(), Box<dyn std::error::Error>> {
    let (listener, _file) = socket::listen(&options.listen, options.listen_mode)?;
    tracing::info!(socket = %options.listen.display(), "serving nic.datapath.v1");
    let mut told = signals::Stop::new()?;
    signals::ready();
    let watcher = Arc::clone(&control);
    let watch_devices = async move {
        let mut interval = tokio::time::interval(DEVICE_INTERVAL);
        loop {
            interval.tick().await;
            watcher.refresh_devices();
            watcher.look().await;
        }
    };
    let auditor = Arc::clone(&control);
    let audit = async move {
        let mut interval = tokio::time::interval(AUDIT_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick comes at once, when there is nothing to audit yet.
        interval.tick().await;
        loop {
            interval.tick().await;
            // What it finds, it logs; without an answer this process is about to end.
            let _ = auditor.auditor.audit(true).await;
        }
    };
    let messenger = Arc::clone(&control);
    let server = tonic::transport::Server::builder()
        .add_service(nic_link::server::service(control))
        .serve_with_incoming(UnixListenerStream::new(listener));
    tokio::select! {
        result = server => result?,
        () = watch_devices => {}
        () = audit => {}
        () = messenger.pass_on_settled() => {}
        () = told.wait() => {}
    }
    signals::stopping();
    tracing::info!("stopping: the E-Switch's rules go with this process");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_seeds_are_alike_nor_share_their_bits() {
        let seeds: BTreeSet<u64> = (0..1000).map(|_| seed()).collect();
        assert_eq!(seeds.len(), 1000);
        for bit in 0..64 {
            let set = seeds.iter().filter(|seed| *seed >> bit & 1 == 1).count();
            // Ten standard deviations of a thousand fair coins.
            assert!((340..=660).contains(&set), "bit {bit} is set in {set} of 1000");
        }
    }
}
