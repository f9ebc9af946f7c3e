//! The offload thread: rules into the E-Switch and out of it, counters back.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use nic_offload::Sink;
use nic_slowpath::{Completion, Installer, InstallerCounters, Request};
use tokio::sync::watch;

use crate::sleep::Waker;

/// The longest sleep, for an installer that waits for nothing.
const LONGEST: Duration = Duration::from_secs(1);

/// Something for the offload thread to do between two polls; what it says to the worker goes to the second
/// argument.
pub(crate) type Command = Box<dyn FnOnce(&mut Installer<Sink>, &mut dyn FnMut(Completion)) + Send>;

/// What the offload thread is given.
pub(crate) struct Context {
    /// What does the work.
    pub(crate) installer: Installer<Sink>,
    /// Time since this instant is what the slow path calls now.
    pub(crate) epoch: Instant,
    /// From the worker.
    pub(crate) requests: Receiver<Request>,
    /// What others want done.
    pub(crate) commands: Receiver<Command>,
    /// To the worker.
    pub(crate) completions: Sender<Completion>,
    /// Told what was counted.
    pub(crate) counted: watch::Sender<InstallerCounters>,
    /// Wakes the worker.
    pub(crate) waker: Waker,
}

/// Starts the thread. It ends when the worker is gone; all rules die with it.
pub(crate) fn spawn(context: Context) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("offload".to_owned()).spawn(move || context.run())
}

impl Context {
    fn run(mut self) {
        let mut next = Some(Duration::ZERO);
        loop {
            let now = self.epoch.elapsed();
            let wait = next.map_or(LONGEST, |next| next.saturating_sub(now).min(LONGEST));
            let mut command = None;
            crossbeam_channel::select! {
                recv(self.requests) -> request => match request {
                    Ok(request) => self.installer.submit(request),
                    Err(_) => return,
                },
                recv(self.commands) -> told => match told {
                    Ok(told) => command = Some(told),
                    // Nobody is left to command; the worker is about to end as well.
                    Err(_) => self.commands = crossbeam_channel::never(),
                },
                default(wait) => {}
            }
            // Who commands has heard from the worker: what that asked for before comes first.
            loop {
                match self.requests.try_recv() {
                    Ok(request) => self.installer.submit(request),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            next = self.work(command);
        }
    }

    /// Carries out a command, and what the worker asks for. Returns when to do so again.
    fn work(&mut self, command: Option<Command>) -> Option<Duration> {
        let mut told = false;
        let completions = &self.completions;
        let mut complete = |completion| {
            told = true;
            // The worker ends before this thread does; then nobody needs to know.
            let _ = completions.send(completion);
        };
        if let Some(command) = command {
            command(&mut self.installer, &mut complete);
        }
        let next = self.installer.poll(self.epoch.elapsed(), &mut complete);
        if told {
            self.waker.wake();
        }
        let now = self.installer.counters();
        self.counted.send_if_modified(|counted| core::mem::replace(counted, now) != now);
        next
    }
}

/// Gives the offload thread commands.
#[derive(Clone)]
pub(crate) struct Commands(pub(crate) Sender<Command>);

impl Commands {
    /// Runs `ask` on the offload thread and returns its answer; `None` if the thread is gone.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Installer<Sink>, &mut dyn FnMut(Completion)) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let command: Command = Box::new(move |installer, complete| {
            // A caller that went away needs no answer.
            let _ = answer.send(ask(installer, complete));
        });
        self.0.send(command).ok()?;
        answered.await.ok()
    }
}
