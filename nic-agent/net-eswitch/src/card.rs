//! The switch as a card that may be unreliable: the clock of its faults, and the representors that stall.

use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use nix::sys::epoll::EpollTimeout;
use nix::sys::eventfd::{EfdFlags, EventFd};
use soft_eswitch::{Faults, NoPort, Switch};

use crate::port::Port;

/// A switch, and what its faults need beside it.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) switch: Arc<Switch>,
    /// In the order of their ids.
    pub(crate) ports: Vec<Arc<Port>>,
    made: Instant,
    /// Ends the sleep of the switch's thread.
    bell: EventFd,
}

impl Card {
    pub(crate) fn new(switch: Arc<Switch>, ports: Vec<Arc<Port>>) -> nix::Result<Card> {
        let bell = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Card { switch, ports, made: Instant::now(), bell })
    }

    /// Readable when the switch's thread is to look up.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    pub(crate) fn ring(&self) {
        let _ = self.bell.write(1);
    }

    pub(crate) fn hush(&self) {
        let _ = self.bell.read();
    }

    /// Calls the switch at the right time.
    pub(crate) fn call<T>(&self, call: impl FnOnce(&Switch) -> T) -> T {
        if self.switch.is_reliable() {
            return call(&self.switch);
        }
        self.switch.advance(self.made.elapsed());
        let answer = call(&self.switch);
        if self.switch.due().is_some() {
            // It may be due before the switch's thread would wake.
            self.ring();
        }
        answer
    }

    /// Brings about what is due. In a reliable switch that is one look at a number.
    pub(crate) fn keep_time(&self) {
        if let Some(due) = self.switch.due() {
            let now = self.made.elapsed();
            if due <= now {
                self.switch.advance(now);
            }
        }
    }

    /// How long the switch's thread may sleep.
    pub(crate) fn patience(&self) -> EpollTimeout {
        let Some(due) = self.switch.due() else { return EpollTimeout::NONE };
        // Milliseconds, rounded up: to wake too early would be to spin.
        let left = due.saturating_sub(self.made.elapsed()) + Duration::from_micros(999);
        EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX)
    }

    /// Makes the card as unreliable as this says, in place of what was said before.
    pub(crate) fn set_faults(&self, faults: Faults) -> Result<(), NoPort> {
        self.switch.advance(self.made.elapsed());
        self.switch.set_faults(faults.clone())?;
        for port in &self.ports {
            port.representor.stall(faults.stall.contains(&port.id));
        }
        self.ring();
        Ok(())
    }

    /// How often each fault was met since they were set, those of representors too.
    pub(crate) fn hits(&self) -> String {
        let mut hits = self.switch.fault_hits().to_string();
        for port in &self.ports {
            let bursts = port.representor.counters.rx_stalled.load(Relaxed);
            if bursts > 0 {
                if hits == "none" {
                    hits.clear();
                } else {
                    hits.push('+');
                }
                // Writing to a string does not fail.
                let _ = write!(hits, "stall:{}:{bursts}", port.id);
            }
        }
        hits
    }
}
