//! An ethdev: an uplink's or a representor's port as DPDK sees it, without DPDK's types.

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nic_flow::port::Device as Kind;
use soft_eswitch::{DropReason, PortStats};

use crate::device::Device;
use crate::ffi;
use crate::frame::{MAX_FRAME, MAX_MTU, MIN_MTU};
use crate::port::Port;

/// Slots of the longest queue of a representor, and of one whose length nobody chose.
pub(crate) const MAX_DESCRIPTORS: u16 = 4096;
const DEFAULT_DESCRIPTORS: u16 = 1024;

/// A port as DPDK sees it. The C side holds one reference, from the port's making to its close.
#[derive(Debug)]
pub(crate) struct Ethdev {
    pub(crate) device: Arc<Device>,
    pub(crate) port: Arc<Port>,
    /// What the statistics were when they were last reset.
    zero: std::sync::Mutex<Vec<u64>>,
}

/// The statistics of ethdev, then the extended ones, all since the device was made.
type Readings = Vec<u64>;

impl Ethdev {
    pub(crate) fn new(device: Arc<Device>, port: Arc<Port>) -> Arc<Ethdev> {
        Arc::new(Ethdev { device, port, zero: Default::default() })
    }

    pub(crate) fn start(&self) {
        self.port.representor.start();
        self.port.backing.start();
    }

    /// Stops the slow path of the port and destroys the rules that were created by it, as cards do.
    pub(crate) fn stop(&self) {
        self.port.representor.stop();
        self.device.card.switch.flush(self.port.id);
    }

    pub(crate) fn close(&self) {
        self.stop();
        self.port.representor.publish(None);
        self.device.ethdev_closed(self.port.id);
    }

    pub(crate) fn info(&self) -> ffi::nes_info {
        ffi::nes_info {
            if_index: self.port.backing.if_index(),
            max_frame: MAX_FRAME as u32,
            max_mac_addrs: 1,
            min_mtu: MIN_MTU,
            max_mtu: MAX_MTU,
            max_rx_queues: 1,
            max_tx_queues: 64,
            max_descriptors: MAX_DESCRIPTORS,
            default_descriptors: DEFAULT_DESCRIPTORS,
            switch_domain: self.device.domain,
            switch_port: self.port.id.bits(),
        }
    }

    /// The physical function that the port belongs to.
    pub(crate) fn pf(&self) -> u16 {
        match self.port.id.device() {
            Some(Kind::Uplink(n) | Kind::HostPf(n) | Kind::Vf { pf: n, .. }) => n.into(),
            Some(Kind::Management) | None => 0,
        }
    }

    /// The functions of the device, as ranges of ids: the id of a function is its [`nic_flow::PortId`].
    pub(crate) fn ranges(&self) -> Vec<ffi::nes_range> {
        let mut ranges: Vec<ffi::nes_range> = Vec::new();
        for &port in self.device.ports.keys() {
            let (pf, is_pf) = match port.device() {
                Some(Kind::HostPf(pf)) => (pf.into(), 1),
                Some(Kind::Vf { pf, .. }) => (pf.into(), 0),
                _ => continue,
            };
            let id = u32::from(port.bits());
            match ranges.last_mut() {
                Some(last) if is_pf == 0 && last.is_pf == 0 && last.pf == pf && last.id_end + 1 == id => {
                    last.id_end = id;
                }
                _ => {
                    let name = if is_pf == 1 { format!("pf{pf}") } else { format!("pf{pf}vf") };
                    let mut range = ffi::nes_range { id_base: id, id_end: id, pf, is_pf, name: [0; 32] };
                    copy_name(&mut range.name, &name);
                    ranges.push(range);
                }
            }
        }
        ranges
    }

    pub(crate) fn set_mtu(&self, mtu: u16) -> bool {
        let possible = (MIN_MTU..=MAX_MTU).contains(&mtu);
        if possible {
            self.port.mtu.store(mtu, Relaxed);
        }
        possible
    }

    pub(crate) fn stats(&self) -> ffi::nes_stats {
        let values = self.since_reset();
        let [rx_packets, rx_bytes, tx_packets, tx_bytes, rx_missed, rx_errors, tx_errors, rx_nombuf] =
            std::array::from_fn(|i| values[i]);
        ffi::nes_stats {
            rx_packets,
            rx_bytes,
            tx_packets,
            tx_bytes,
            rx_missed,
            rx_errors,
            tx_errors,
            rx_nombuf,
        }
    }

    pub(crate) fn reset_stats(&self) {
        let now = self.read_all();
        *self.zero.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = now;
    }

    pub(crate) fn xstat(&self, index: usize) -> u64 {
        self.since_reset().get(BASIC + index).copied().unwrap_or(0)
    }

    fn since_reset(&self) -> Readings {
        let mut now = self.read_all();
        let zero = self.zero.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (value, zero) in now.iter_mut().zip(zero.iter()) {
            *value = value.saturating_sub(*zero);
        }
        now
    }

    fn read_all(&self) -> Readings {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let app = &self.port.representor.counters;
        let wire = &self.port.from_backing;
        let switch = self.device.card.switch.stats(self.port.id).unwrap_or_default();
        let dropped = switch.dropped(DropReason::MissFull) + switch.dropped(DropReason::MissDown);
        let missed = dropped + get(&app.rx_discarded);
        let mut values = vec![
            get(&app.rx_packets),
            get(&app.rx_bytes),
            get(&app.tx_packets),
            get(&app.tx_bytes),
            missed,
            get(&app.rx_scatter),
            // A frame that is too long is lost in the same place whoever forwarded it, and counts once.
            get(&app.tx_refused) + get(&wire.send_oversized),
            get(&app.rx_nombuf),
        ];
        values.extend(from_switch(&switch));
        values.extend([
            get(&app.rx_discarded),
            get(&wire.no_buffer),
            get(&wire.oversized),
            get(&wire.not_offloadable),
            get(&wire.kernel_drops),
            get(&wire.receive_errors),
            get(&wire.send_refused),
            get(&wire.send_oversized),
            get(&wire.cut),
        ]);
        values
    }
}

/// Statistics of ethdev in front of the extended ones in [`Readings`].
const BASIC: usize = 8;

fn from_switch(stats: &PortStats) -> impl Iterator<Item = u64> + '_ {
    [
        stats.received.packets,
        stats.received.bytes,
        stats.hits.packets,
        stats.hits.bytes,
        stats.misses.packets,
        stats.misses.bytes,
        stats.sent.packets,
        stats.sent.bytes,
    ]
    .into_iter()
    .chain(stats.drops)
}

/// The names of the extended statistics, in the order of [`Readings`].
pub(crate) fn xstat_names() -> impl Iterator<Item = String> {
    const FROM_SWITCH: [&str; 8] = [
        "eswitch_received_packets",
        "eswitch_received_bytes",
        "eswitch_hit_packets",
        "eswitch_hit_bytes",
        "eswitch_miss_packets",
        "eswitch_miss_bytes",
        "eswitch_sent_packets",
        "eswitch_sent_bytes",
    ];
    const REST: [&str; 9] = [
        "representor_drop_stopped",
        "wire_drop_no_buffer",
        "wire_drop_oversized",
        "wire_drop_not_offloadable",
        "wire_drop_kernel",
        "wire_receive_errors",
        "wire_send_refused",
        "wire_send_oversized",
        "wire_segmented_packets",
    ];
    let drops = DropReason::ALL.iter().map(|reason| format!("eswitch_drop_{reason}"));
    FROM_SWITCH.map(String::from).into_iter().chain(drops).chain(REST.map(String::from))
}

/// Copies a name into a C array, cut to its size, with a zero behind it.
pub(crate) fn copy_name(to: &mut [std::ffi::c_char], name: &str) {
    let Ok(name) = CString::new(name) else { return };
    let Some(room) = to.len().checked_sub(1) else { return };
    to.fill(0);
    for (to, from) in to[..room].iter_mut().zip(name.as_bytes()) {
        *to = *from as std::ffi::c_char;
    }
}
