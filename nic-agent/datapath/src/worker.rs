//! The worker's thread: packets, until told to stop.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use dpdk::Eal;
use nic_slowpath::{Completion, Request, Worker};
use tokio::sync::watch;

use crate::io::Io;
use crate::sleep::{Bed, Waker};

/// Rounds without a packet before the worker goes to bed: on a busy port the next packet is near.
const IDLE_ROUNDS: u32 = 64;
/// Time between two looks at ages.
const TICK: Duration = Duration::from_millis(50);
/// Requests that may wait for the offload thread; the worker keeps the others.
pub(crate) const REQUESTS: usize = 1024;

/// Something for the worker to do between two rounds.
pub(crate) type Command = Box<dyn FnOnce(&mut Worker<Io>, Duration) + Send>;

/// What the worker's thread is given.
pub(crate) struct Context {
    /// The slow path.
    pub(crate) worker: Worker<Io>,
    /// Time since this instant is what the slow path calls now.
    pub(crate) epoch: Instant,
    /// Where it sleeps; `None` polls without end.
    pub(crate) bed: Option<Bed>,
    /// The CPU that it is bound to.
    pub(crate) cpu: Option<usize>,
    /// What others want done.
    pub(crate) commands: Receiver<Command>,
    /// What the offload thread answers.
    pub(crate) completions: Receiver<Completion>,
    /// What the offload thread is asked for.
    pub(crate) requests: Sender<Request>,
    /// Told how many publications are applied.
    pub(crate) settled: watch::Sender<u64>,
}

/// Starts the thread. It ends when all senders of commands are gone.
pub(crate) fn spawn(eal: &Eal, context: Context) -> std::io::Result<JoinHandle<()>> {
    let eal = eal.clone();
    std::thread::Builder::new().name("worker-0".to_owned()).spawn(move || {
        let pinned = context.cpu.map(|cpu| dpdk::lcore::pin_current_thread(&[cpu])).transpose();
        if let Err(error) = &pinned {
            tracing::warn!(%error, cpu = context.cpu, "the worker is not bound to its CPU");
        }
        // Without an lcore id of its own the worker has no mempool cache, and is slower; that is all.
        let registered = eal.register_thread();
        if let Err(error) = &registered {
            tracing::warn!(%error, "the worker has no mempool cache");
        }
        context.run();
    })
}

impl Context {
    fn run(mut self) {
        let mut idle = 0;
        let mut next_tick = Duration::ZERO;
        loop {
            let now = self.epoch.elapsed();
            let Some(told) = self.listen(now) else { return };
            let epoch = self.epoch;
            let polled = self.worker.poll_timed(|| epoch.elapsed());
            if now >= next_tick {
                self.worker.tick(now);
                next_tick = now + TICK;
            }
            self.report();
            if told || polled.packets > 0 || polled.more {
                idle = 0;
                continue;
            }
            idle += 1;
            if idle >= IDLE_ROUNDS {
                self.rest();
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// Does what others ask for. `None`: nobody is left to ask. True: something was done.
    fn listen(&mut self, now: Duration) -> Option<bool> {
        let mut done = false;
        for completion in self.completions.try_iter() {
            self.worker.complete(completion, now);
            done = true;
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => {
                    command(&mut self.worker, now);
                    done = true;
                }
                Err(crossbeam_channel::TryRecvError::Empty) => return Some(done),
                Err(crossbeam_channel::TryRecvError::Disconnected) => return None,
            }
        }
    }

    /// Hands requests to the offload thread and tells what is applied.
    fn report(&mut self) {
        let room = REQUESTS - self.requests.len();
        let requests = &self.requests;
        self.worker.take_requests(room, |request| {
            // There is room, for nobody else sends; and the offload thread ends after this one.
            let sent = requests.try_send(request);
            debug_assert!(sent.is_ok(), "the queue of requests has room");
        });
        let settled = self.worker.settled();
        if *self.settled.borrow() != settled {
            self.settled.send_replace(settled);
        }
    }

    /// Sleeps until there is something to do.
    fn rest(&mut self) {
        let Some(bed) = &self.bed else { return };
        if bed.arm(self.worker.io_mut().receivers()) {
            // What came before the interrupts were armed wakes nobody.
            let epoch = self.epoch;
            let polled = self.worker.poll_timed(|| epoch.elapsed());
            let work = polled.packets > 0
                || polled.more
                || !self.commands.is_empty()
                || !self.completions.is_empty();
            if !work {
                bed.sleep(TICK);
            }
        }
        bed.disarm(self.worker.io_mut().receivers());
    }
}

/// Gives the worker commands and wakes it.
#[derive(Clone)]
pub(crate) struct Commands {
    /// To the worker.
    pub(crate) queue: Sender<Command>,
    /// Wakes it.
    pub(crate) waker: Waker,
}

impl Commands {
    /// Runs `ask` on the worker and returns its answer; `None` if the worker is gone.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut Worker<Io>, Duration) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let command: Command = Box::new(move |worker, now| {
            // A caller that went away needs no answer.
            let _ = answer.send(ask(worker, now));
        });
        self.queue.send(command).ok()?;
        self.waker.wake();
        answered.await.ok()
    }
}
