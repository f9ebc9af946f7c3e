//! A port of ours: control, and the queues while it runs.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use dpdk_sys as sys;

use super::DevId;
use super::config::{self, PortConfig, StartError};
use super::info::{InfoError, PortInfo};
use super::queue::{RxQueue, TxQueue};
use crate::eal::Eal;
use crate::errno::Errno;
use crate::mempool::Mempool;

/// Why a port was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No such port.
    #[error("{0} does not exist")]
    Absent(DevId),
    /// A [`Port`] for it is held elsewhere in this process.
    #[error("{0} is open already")]
    AlreadyOpen(DevId),
}

/// Why a port did not stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// It does not run.
    #[error("{0} does not run")]
    NotRunning(DevId),
    /// Drop its queues first: a queue must not be used on a stopped port.
    #[error("{held} queues of {port} are still held")]
    QueuesHeld {
        /// The port.
        port: DevId,
        /// How many.
        held: usize,
    },
    /// The driver refused.
    #[error("{port} refused to stop: {errno}")]
    Refused {
        /// The port.
        port: DevId,
        /// The driver's reason.
        errno: Errno,
    },
}

/// The control calls that can fail, for [`ControlError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Reading the address.
    GetMac,
    /// Setting the address.
    SetMac,
    /// Reading the MTU.
    GetMtu,
    /// Setting the MTU.
    SetMtu,
    /// Reading the link's state.
    GetLink,
    /// Reading counters.
    GetStats,
    /// Setting counters to zero.
    ResetStats,
    /// Switching promiscuous mode.
    SetPromiscuous,
    /// Switching the reception of all multicast.
    SetAllMulticast,
}

/// A control call that the driver refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{port} refused {operation:?}: {errno}")]
pub struct ControlError {
    /// The port.
    pub port: DevId,
    /// The call.
    pub operation: Operation,
    /// The driver's reason.
    pub errno: Errno,
}

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it is up.
    pub up: bool,
    /// Megabits a second, where known.
    pub speed_mbps: Option<u32>,
    /// Whether both ends may talk at once.
    pub full_duplex: bool,
    /// Whether the speed was negotiated.
    pub autonegotiated: bool,
}

/// The counters of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets lost because no descriptor was free.
    pub rx_missed: u64,
    /// Packets received with an error.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets lost because the mempool was exhausted.
    pub rx_no_mbuf: u64,
}

/// The queues of a running port. Dropping them is what lets it stop.
#[derive(Debug)]
#[must_use = "a port that nobody polls loses what it receives"]
pub struct Queues {
    /// One for each pool of the configuration, in that order.
    pub rx: Vec<RxQueue>,
    /// As many as asked for.
    pub tx: Vec<TxQueue>,
}

/// A port that this program owns. Cheap to clone, shared by threads; the last
/// handle to go, queues and rules included, stops and closes the port.
#[derive(Clone)]
pub struct Port(pub(crate) Arc<PortInner>);

pub(crate) struct PortInner {
    pub(crate) id: DevId,
    eal: Eal,
    control: Mutex<Control>,
    /// Queues that somebody holds.
    pub(super) held: AtomicUsize,
    /// How often all rules were taken away at once. Read-locked by every call on a
    /// rule, write-locked by a flush or a stop: no rule's handle is used after it.
    pub(crate) epoch: RwLock<u64>,
}

struct Control {
    running: bool,
    /// What the driver receives into.
    pools: Vec<Mempool>,
}

impl Port {
    /// Takes a port. It stays as it is until it is started.
    pub fn open(eal: &Eal, id: DevId) -> Result<Self, OpenError> {
        // SAFETY: reads the table of ports; any number may be asked for.
        let exists = || unsafe { sys::rte_eth_dev_is_valid_port(id.get()) } != 0;
        match eal.claim_port(id.get(), exists) {
            None => return Err(OpenError::Absent(id)),
            Some(false) => return Err(OpenError::AlreadyOpen(id)),
            Some(true) => {}
        }
        Ok(Self(Arc::new(PortInner {
            id,
            eal: eal.clone(),
            control: Mutex::new(Control { running: false, pools: Vec::new() }),
            held: AtomicUsize::new(0),
            epoch: RwLock::new(0),
        })))
    }

    /// DPDK's number of the port.
    pub fn id(&self) -> DevId {
        self.0.id
    }

    /// The EAL that the port belongs to.
    pub fn eal(&self) -> &Eal {
        &self.0.eal
    }

    /// What the port says of itself now.
    pub fn info(&self) -> Result<PortInfo, InfoError> {
        PortInfo::of(&self.0.eal, self.0.id)
    }

    /// Configures the port and starts it.
    pub fn start(&self, port_config: &PortConfig) -> Result<Queues, StartError> {
        let mut control = self.0.control();
        if control.running {
            return Err(StartError::Running(self.0.id));
        }
        // Queues are only held while a port runs, so there are none; and no flow call
        // shall see a port that is half configured.
        let _no_flow_call = self.0.epoch.write().unwrap_or_else(PoisonError::into_inner);
        let _one_at_a_time = self.0.eal.control_ports();
        // The old pools stay until the driver has let go of them.
        control.pools.extend(port_config.rx_pools.iter().cloned());
        config::start(self.0.id, port_config)?;
        control.running = true;
        control.pools.clone_from(&port_config.rx_pools);
        let queues = (0_u16..).take(port_config.rx_pools.len());
        Ok(Queues {
            rx: queues.map(|queue| RxQueue::new(&self.0, queue)).collect(),
            tx: (0..port_config.tx_queues).map(|queue| TxQueue::new(&self.0, queue)).collect(),
        })
    }

    /// Stops the port: its rules are gone then, and its queues must be before.
    pub fn stop(&self) -> Result<(), StopError> {
        let mut control = self.0.control();
        let port = self.0.id;
        if !control.running {
            return Err(StopError::NotRunning(port));
        }
        match self.0.held.load(Ordering::Acquire) {
            0 => {}
            held => return Err(StopError::QueuesHeld { port, held }),
        }
        // Held over the stop, so that no call on a rule runs beside it. Counted even
        // if the driver refuses: it may have dropped the rules before it did.
        let mut epoch = self.0.epoch.write().unwrap_or_else(PoisonError::into_inner);
        *epoch += 1;
        let _one_at_a_time = self.0.eal.control_ports();
        // SAFETY: nobody holds a queue, and no flow call runs.
        Errno::check(unsafe { sys::rte_eth_dev_stop(port.get()) })
            .map_err(|errno| StopError::Refused { port, errno })?;
        control.running = false;
        Ok(())
    }

    /// Whether the port runs.
    pub fn is_running(&self) -> bool {
        self.0.control().running
    }

    /// The port's address.
    pub fn mac(&self) -> Result<[u8; 6], ControlError> {
        let mut mac = sys::rte_ether_addr::default();
        self.call(Operation::GetMac, |port| {
            // SAFETY: an address to write to; the port is ours.
            unsafe { sys::rte_eth_macaddr_get(port, &raw mut mac) }
        })?;
        Ok(mac.addr_bytes)
    }

    /// Sets the port's address.
    pub fn set_mac(&self, mac: [u8; 6]) -> Result<(), ControlError> {
        let mut mac = sys::rte_ether_addr { addr_bytes: mac };
        self.call(Operation::SetMac, |port| {
            // SAFETY: an address that DPDK copies; the port is ours.
            unsafe { sys::rte_eth_dev_default_mac_addr_set(port, &raw mut mac) }
        })
    }

    /// The MTU.
    pub fn mtu(&self) -> Result<u16, ControlError> {
        let mut mtu = 0;
        self.call(Operation::GetMtu, |port| {
            // SAFETY: a number to write to; the port is ours.
            unsafe { sys::rte_eth_dev_get_mtu(port, &raw mut mtu) }
        })?;
        Ok(mtu)
    }

    /// Sets the MTU.
    pub fn set_mtu(&self, mtu: u16) -> Result<(), ControlError> {
        self.call(Operation::SetMtu, |port| {
            // SAFETY: the port is ours.
            unsafe { sys::rte_eth_dev_set_mtu(port, mtu) }
        })
    }

    /// The link's state, without waiting for it to settle.
    pub fn link(&self) -> Result<Link, ControlError> {
        let mut link = sys::shim_eth_link::default();
        self.call(Operation::GetLink, |port| {
            // SAFETY: a struct to write to; the port is ours.
            unsafe { sys::shim_eth_link_get_nowait(port, &raw mut link) }
        })?;
        Ok(Link {
            up: link.up != 0,
            speed_mbps: (link.speed_mbps != u32::MAX && link.speed_mbps != 0).then_some(link.speed_mbps),
            full_duplex: link.full_duplex != 0,
            autonegotiated: link.autoneg != 0,
        })
    }

    /// The port's counters.
    pub fn stats(&self) -> Result<PortStats, ControlError> {
        let mut raw = sys::rte_eth_stats::default();
        self.call(Operation::GetStats, |port| {
            // SAFETY: a struct to write to; the port is ours.
            unsafe { sys::rte_eth_stats_get(port, &raw mut raw) }
        })?;
        Ok(PortStats {
            rx_packets: raw.ipackets,
            tx_packets: raw.opackets,
            rx_bytes: raw.ibytes,
            tx_bytes: raw.obytes,
            rx_missed: raw.imissed,
            rx_errors: raw.ierrors,
            tx_errors: raw.oerrors,
            rx_no_mbuf: raw.rx_nombuf,
        })
    }

    /// Sets the port's counters to zero.
    pub fn reset_stats(&self) -> Result<(), ControlError> {
        self.call(Operation::ResetStats, |port| {
            // SAFETY: the port is ours.
            unsafe { sys::rte_eth_stats_reset(port) }
        })
    }

    /// Receives every packet, or only those for the port's address.
    pub fn set_promiscuous(&self, on: bool) -> Result<(), ControlError> {
        self.call(Operation::SetPromiscuous, |port| {
            if on {
                // SAFETY: the port is ours.
                unsafe { sys::rte_eth_promiscuous_enable(port) }
            } else {
                // SAFETY: the port is ours.
                unsafe { sys::rte_eth_promiscuous_disable(port) }
            }
        })
    }

    /// Receives all multicast, or only what was asked for.
    pub fn set_all_multicast(&self, on: bool) -> Result<(), ControlError> {
        self.call(Operation::SetAllMulticast, |port| {
            if on {
                // SAFETY: the port is ours.
                unsafe { sys::rte_eth_allmulticast_enable(port) }
            } else {
                // SAFETY: the port is ours.
                unsafe { sys::rte_eth_allmulticast_disable(port) }
            }
        })
    }

    /// A control call, one at a time.
    fn call(&self, operation: Operation, call: impl FnOnce(u16) -> i32) -> Result<(), ControlError> {
        let _one_at_a_time = self.0.eal.control_ports();
        let port = self.0.id;
        match Errno::check(call(port.get())) {
            Ok(_) => Ok(()),
            Err(errno) => Err(ControlError { port, operation, errno }),
        }
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("id", &self.0.id.get()).finish_non_exhaustive()
    }
}

impl PortInner {
    /// The control lock. What it guards is consistent whatever its holders do.
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PortInner {
    fn drop(&mut self) {
        let running = self.control().running;
        self.eal.close_port(self.id.get(), || {
            if running {
                // SAFETY: queues and rules hold this struct, so none is left.
                unsafe { sys::rte_eth_dev_stop(self.id.get()) };
            }
            // SAFETY: as above; the pools live until this struct's fields are dropped.
            // A driver that refuses to stop or close is left to EAL's clean-up.
            unsafe { sys::rte_eth_dev_close(self.id.get()) };
        });
    }
}
