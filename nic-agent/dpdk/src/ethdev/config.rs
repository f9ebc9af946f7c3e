//! How a port is to run, and putting that into force.

use dpdk_sys as sys;

use super::DevId;
use super::info::raw_info;
use crate::errno::Errno;
use crate::mempool::Mempool;

/// Receive offloads to switch on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxOffloads {
    /// Takes off one VLAN tag and reports it in the metadata.
    pub vlan_strip: bool,
    /// Checks IPv4, TCP and UDP checksums.
    pub checksum: bool,
    /// Packets may span several mbufs.
    pub scatter: bool,
}

/// Transmit offloads to switch on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxOffloads {
    /// Puts on a VLAN tag that the metadata asks for.
    pub vlan_insert: bool,
    /// Fills in IPv4, TCP and UDP checksums that the metadata asks for.
    pub checksum: bool,
    /// Packets may span several mbufs.
    pub multi_segment: bool,
}

impl RxOffloads {
    /// DPDK's bits.
    pub fn bits(self) -> u64 {
        let mut bits = 0;
        if self.vlan_strip {
            bits |= sys::SHIM_RX_OFFLOAD_VLAN_STRIP;
        }
        if self.checksum {
            bits |= sys::SHIM_RX_OFFLOAD_IPV4_CKSUM
                | sys::SHIM_RX_OFFLOAD_UDP_CKSUM
                | sys::SHIM_RX_OFFLOAD_TCP_CKSUM;
        }
        if self.scatter {
            bits |= sys::SHIM_RX_OFFLOAD_SCATTER;
        }
        bits
    }

    /// Those of `self` that a port with these capability bits can do.
    #[must_use]
    pub fn supported_by(self, capability: u64) -> Self {
        let can = |one: Self| capability & one.bits() == one.bits();
        Self {
            vlan_strip: self.vlan_strip && can(Self { vlan_strip: true, ..Self::default() }),
            checksum: self.checksum && can(Self { checksum: true, ..Self::default() }),
            scatter: self.scatter && can(Self { scatter: true, ..Self::default() }),
        }
    }
}

impl TxOffloads {
    /// DPDK's bits.
    pub fn bits(self) -> u64 {
        let mut bits = 0;
        if self.vlan_insert {
            bits |= sys::SHIM_TX_OFFLOAD_VLAN_INSERT;
        }
        if self.checksum {
            bits |= sys::SHIM_TX_OFFLOAD_IPV4_CKSUM
                | sys::SHIM_TX_OFFLOAD_UDP_CKSUM
                | sys::SHIM_TX_OFFLOAD_TCP_CKSUM;
        }
        if self.multi_segment {
            bits |= sys::SHIM_TX_OFFLOAD_MULTI_SEGS;
        }
        bits
    }

    /// Those of `self` that a port with these capability bits can do.
    #[must_use]
    pub fn supported_by(self, capability: u64) -> Self {
        let can = |one: Self| capability & one.bits() == one.bits();
        Self {
            vlan_insert: self.vlan_insert && can(Self { vlan_insert: true, ..Self::default() }),
            checksum: self.checksum && can(Self { checksum: true, ..Self::default() }),
            multi_segment: self.multi_segment && can(Self { multi_segment: true, ..Self::default() }),
        }
    }
}

/// How a port is to run.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// One receive queue for each pool; the queue's packets come from it.
    pub rx_pools: Vec<Mempool>,
    /// How many transmit queues.
    pub tx_queues: u16,
    /// Descriptors of each receive queue; 0 for what the driver recommends, else 512.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue; 0 as above.
    pub tx_descriptors: u16,
    /// The MTU; the one that the port has where `None`.
    pub mtu: Option<u16>,
    /// Receive offloads, all of which the port must support.
    pub rx_offloads: RxOffloads,
    /// Transmit offloads, all of which the port must support.
    pub tx_offloads: TxOffloads,
    /// Lets a thread sleep until a packet comes (see [`super::RxQueue::interrupt_fd`]).
    /// A driver without interrupts may refuse to start with this on.
    pub rx_interrupts: bool,
}

impl PortConfig {
    /// One receive queue filled from `pool`, one transmit queue, no offloads.
    pub fn single(pool: &Mempool) -> Self {
        Self {
            rx_pools: vec![pool.clone()],
            tx_queues: 1,
            rx_descriptors: 0,
            tx_descriptors: 0,
            mtu: None,
            rx_offloads: RxOffloads::default(),
            tx_offloads: TxOffloads::default(),
            rx_interrupts: false,
        }
    }
}

/// Why a port did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It runs already.
    #[error("{0} runs already")]
    Running(DevId),
    /// More receive queues than the port can have.
    #[error("{port} has at most {max} receive queues, {wanted} were asked for")]
    RxQueues {
        /// The port.
        port: DevId,
        /// Asked for.
        wanted: usize,
        /// Possible.
        max: u16,
    },
    /// More transmit queues than the port can have.
    #[error("{port} has at most {max} transmit queues, {wanted} were asked for")]
    TxQueues {
        /// The port.
        port: DevId,
        /// Asked for.
        wanted: u16,
        /// Possible.
        max: u16,
    },
    /// Receive offloads that the port lacks.
    #[error("{port} lacks receive offloads {missing:#x}")]
    RxOffloads {
        /// The port.
        port: DevId,
        /// DPDK's bits of those missing.
        missing: u64,
    },
    /// Transmit offloads that the port lacks.
    #[error("{port} lacks transmit offloads {missing:#x}")]
    TxOffloads {
        /// The port.
        port: DevId,
        /// DPDK's bits of those missing.
        missing: u64,
    },
    /// The driver refused a step.
    #[error("{port} refused to {step}: {errno}")]
    Refused {
        /// The port.
        port: DevId,
        /// The step.
        step: StartStep,
        /// The driver's reason.
        errno: Errno,
    },
}

/// The steps of starting a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartStep {
    /// Telling about itself.
    Describe,
    /// Taking the configuration.
    Configure,
    /// Setting up this receive queue.
    RxQueue(u16),
    /// Setting up this transmit queue.
    TxQueue(u16),
    /// Starting.
    Start,
}

impl core::fmt::Display for StartStep {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Describe => f.write_str("describe itself"),
            Self::Configure => f.write_str("take its configuration"),
            Self::RxQueue(queue) => write!(f, "set up receive queue {queue}"),
            Self::TxQueue(queue) => write!(f, "set up transmit queue {queue}"),
            Self::Start => f.write_str("start"),
        }
    }
}

/// Descriptors of a queue where neither caller nor driver says how many.
const DESCRIPTORS: u16 = 512;

fn descriptors(wanted: u16, recommended: u16, min: u16, max: u16) -> u16 {
    let number = match (wanted, recommended) {
        (0, 0) => DESCRIPTORS,
        (0, recommended) => recommended,
        (wanted, _) => wanted,
    };
    let max = if max == 0 { u16::MAX } else { max };
    number.clamp(min.min(max), max)
}

/// The MTU that the port has. A configuration without one is not "as it is": DPDK sets 1500.
fn current_mtu(port: DevId) -> Option<u16> {
    let mut mtu = 0;
    // SAFETY: a number to write to; the port number is checked.
    let done = unsafe { sys::rte_eth_dev_get_mtu(port.get(), &raw mut mtu) };
    (done == 0).then_some(mtu)
}

/// Configures and starts a stopped port. The caller keeps the pools alive and
/// sees to it that no queue of the port is in use.
pub(super) fn start(port: DevId, config: &PortConfig) -> Result<(), StartError> {
    let refused = |step| move |errno| StartError::Refused { port, step, errno };
    let info = raw_info(port).map_err(refused(StartStep::Describe))?;
    let rx_queues = check(port, config, &info)?;
    let socket = {
        // SAFETY: the port number is checked; -1 (any) where it is unknown.
        unsafe { sys::rte_eth_dev_socket_id(port.get()) }
    };
    let conf = sys::shim_eth_conf {
        rx_offloads: config.rx_offloads.bits(),
        tx_offloads: config.tx_offloads.bits(),
        mtu: config.mtu.or_else(|| current_mtu(port)).map_or(0, u32::from),
        rx_queues,
        tx_queues: config.tx_queues,
        rx_interrupts: u8::from(config.rx_interrupts),
    };
    // SAFETY: a stopped port, a configuration that DPDK copies.
    Errno::check(unsafe { sys::shim_eth_configure(port.get(), &raw const conf) })
        .map_err(refused(StartStep::Configure))?;
    let rx_desc =
        descriptors(config.rx_descriptors, info.rx_desc_default, info.rx_desc_min, info.rx_desc_max);
    for (queue, pool) in (0_u16..).zip(&config.rx_pools) {
        // SAFETY: a stopped port and a living pool.
        let result =
            unsafe { sys::shim_eth_rx_queue_setup(port.get(), queue, rx_desc, socket, pool.as_ptr()) };
        Errno::check(result).map_err(refused(StartStep::RxQueue(queue)))?;
    }
    let tx_desc =
        descriptors(config.tx_descriptors, info.tx_desc_default, info.tx_desc_min, info.tx_desc_max);
    for queue in 0..config.tx_queues {
        // SAFETY: a stopped port.
        let result = unsafe { sys::shim_eth_tx_queue_setup(port.get(), queue, tx_desc, socket) };
        Errno::check(result).map_err(refused(StartStep::TxQueue(queue)))?;
    }
    // SAFETY: configured, with all its queues.
    Errno::check(unsafe { sys::rte_eth_dev_start(port.get()) }).map_err(refused(StartStep::Start))?;
    Ok(())
}

/// The number of receive queues, once all limits hold.
fn check(port: DevId, config: &PortConfig, info: &sys::shim_eth_info) -> Result<u16, StartError> {
    let wanted = config.rx_pools.len();
    let rx_queues = u16::try_from(wanted)
        .ok()
        .filter(|&n| n <= info.max_rx_queues)
        .ok_or(StartError::RxQueues { port, wanted, max: info.max_rx_queues })?;
    if config.tx_queues > info.max_tx_queues {
        return Err(StartError::TxQueues { port, wanted: config.tx_queues, max: info.max_tx_queues });
    }
    match config.rx_offloads.bits() & !info.rx_offload_capa {
        0 => {}
        missing => return Err(StartError::RxOffloads { port, missing }),
    }
    match config.tx_offloads.bits() & !info.tx_offload_capa {
        0 => {}
        missing => return Err(StartError::TxOffloads { port, missing }),
    }
    Ok(rx_queues)
}
