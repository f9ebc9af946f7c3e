//! The offload thread: rules into the E-Switch and out of it, counters back.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use nic_offload::Sink;
use nic_slowpath::{Completion, Installer, InstallerCounters, Request};
use tokio::sync::watch;

use crate::sleep::Waker;

/// The longest sleep, for an installer that waits for nothing.
const LONGEST: Duration = Duration::from_secs(1);

/// What the offload thread is given.
pub(crate) struct Context {
    /// What does the work.
    pub(crate) installer: Installer<Sink>,
    /// Time since this instant is what the slow path calls now.
    pub(crate) epoch: Instant,
    /// From the worker.
    pub(crate) requests: Receiver<Request>,
    /// To the worker.
    pub(crate) completions: Sender<Completion>,
    /// Wakes the worker.
    pub(crate) waker: Waker,
    /// Told what was counted.
    pub(crate) counters: watch::Sender<InstallerCounters>,
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
            match self.requests.recv_timeout(wait) {
                Ok(request) => self.installer.submit(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for request in self.requests.try_iter() {
                self.installer.submit(request);
            }
            let mut told = false;
            let completions = &self.completions;
            next = self.installer.poll(self.epoch.elapsed(), &mut |completion| {
                told = true;
                // The worker ends before this thread does; then nobody needs to know.
                let _ = completions.send(completion);
            });
            if told {
                self.waker.wake();
            }
            let counters = self.installer.counters();
            self.counters.send_if_modified(|before| std::mem::replace(before, counters) != counters);
        }
    }
}
