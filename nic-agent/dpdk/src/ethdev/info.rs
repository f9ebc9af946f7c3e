//! What a port says of itself, and which switch it belongs to.

use core::ffi::{CStr, c_char};

use dpdk_sys as sys;

use super::DevId;
use crate::eal::Eal;
use crate::errno::Errno;

/// A port did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{port} does not tell about itself: {errno}")]
pub struct InfoError {
    /// The port.
    pub port: DevId,
    /// The driver's reason.
    pub errno: Errno,
}

/// Where a port sits in an embedded switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchPort {
    /// The switch's name, where the driver has one.
    pub name: Option<String>,
    /// Ports of one switch share a domain.
    pub domain: u16,
    /// The port's number in the switch: for a representor, its representor id.
    pub port: u16,
}

/// A port as its driver describes it.
#[derive(Clone, Debug)]
pub struct PortInfo {
    /// DPDK's number.
    pub id: DevId,
    /// The device's name, such as `net_null0` or `0000:03:00.0`.
    pub name: String,
    /// The driver's name, such as `mlx5_pci`.
    pub driver: String,
    /// The port's address.
    pub mac: [u8; 6],
    /// The switch that the port belongs to.
    pub switch: Option<SwitchPort>,
    /// Whether the port represents another (else it is an uplink or stands alone).
    pub is_representor: bool,
    /// The kernel interface behind the port.
    pub kernel_ifindex: Option<u32>,
    /// NUMA node, where known.
    pub socket: Option<u16>,
    /// The smallest MTU it takes.
    pub min_mtu: u16,
    /// The largest MTU it takes.
    pub max_mtu: u16,
    /// How many receive queues it can have.
    pub max_rx_queues: u16,
    /// How many transmit queues it can have.
    pub max_tx_queues: u16,
    /// Receive offloads that it can do, as DPDK's bits.
    pub rx_offloads: u64,
    /// Transmit offloads that it can do, as DPDK's bits.
    pub tx_offloads: u64,
    /// Receive descriptors that the driver recommends.
    pub rx_descriptors: Option<u16>,
    /// Transmit descriptors that the driver recommends.
    pub tx_descriptors: Option<u16>,
}

impl PortInfo {
    /// Asks a port.
    pub fn of(eal: &Eal, id: DevId) -> Result<Self, InfoError> {
        let _one_at_a_time = eal.control_ports();
        Self::ask(id)
    }

    /// Asks a port, under the lock of control calls.
    fn ask(id: DevId) -> Result<Self, InfoError> {
        let failed = |errno| InfoError { port: id, errno };
        let raw = raw_info(id).map_err(failed)?;
        let mut mac = sys::rte_ether_addr::default();
        // SAFETY: `mac` is an address to write to; the port number is checked.
        Errno::check(unsafe { sys::rte_eth_macaddr_get(id.get(), &raw mut mac) }).map_err(failed)?;
        // SAFETY: the port number is checked.
        let socket = unsafe { sys::rte_eth_dev_socket_id(id.get()) };
        let switch = (raw.switch_domain != sys::SHIM_SWITCH_DOMAIN_INVALID).then(|| SwitchPort {
            // SAFETY: the driver's string lives as long as the port.
            name: unsafe { text(raw.switch_name) },
            domain: raw.switch_domain,
            port: raw.switch_port,
        });
        Ok(Self {
            id,
            name: name_of(id).map_err(failed)?,
            // SAFETY: the driver's name is static.
            driver: unsafe { text(raw.driver_name) }.unwrap_or_default(),
            mac: mac.addr_bytes,
            switch,
            is_representor: raw.representor != 0,
            kernel_ifindex: (raw.if_index != 0).then_some(raw.if_index),
            socket: u16::try_from(socket).ok(),
            min_mtu: raw.min_mtu,
            max_mtu: raw.max_mtu,
            max_rx_queues: raw.max_rx_queues,
            max_tx_queues: raw.max_tx_queues,
            rx_offloads: raw.rx_offload_capa,
            tx_offloads: raw.tx_offload_capa,
            rx_descriptors: (raw.rx_desc_default != 0).then_some(raw.rx_desc_default),
            tx_descriptors: (raw.tx_desc_default != 0).then_some(raw.tx_desc_default),
        })
    }
}

/// All ports of this process that no other DPDK device has taken over, by number.
pub fn discover(eal: &Eal) -> Result<Vec<PortInfo>, InfoError> {
    let _one_at_a_time = eal.control_ports();
    let mut found = Vec::new();
    let mut from = 0;
    loop {
        // SAFETY: reads the table of ports; 0 is RTE_ETH_DEV_NO_OWNER.
        let next = unsafe { sys::rte_eth_find_next_owned_by(from, 0) };
        match u16::try_from(next) {
            Ok(number) if number < sys::SHIM_MAX_ETHPORTS => {
                found.push(PortInfo::ask(DevId(number))?);
                from = number + 1;
            }
            _ => return Ok(found),
        }
    }
}

/// What a representor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// Nothing: the range describes no representor.
    None,
    /// A virtual function.
    Vf,
    /// A sub-function.
    Sf,
    /// A physical function.
    Pf,
}

/// A range of representors with consecutive ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepresentorRange {
    /// What they stand for.
    pub function: Function,
    /// The controller (host) that the functions belong to; -1 where it does not matter.
    pub controller: i32,
    /// The physical function; -1 where it does not matter.
    pub pf: i32,
    /// The first VF or SF of the range.
    pub first_function: i32,
    /// The representor id of the first, and of the last.
    pub ids: core::ops::RangeInclusive<u32>,
    /// The name of the range, such as `pf0vf`.
    pub name: String,
}

impl RepresentorRange {
    /// The number of the VF or SF that the representor `id` stands for.
    pub fn function_of(&self, id: u32) -> Option<i64> {
        if !self.ids.contains(&id) {
            return None;
        }
        Some(i64::from(self.first_function) + i64::from(id - self.ids.start()))
    }
}

/// What a port knows of the representors of its switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Representors {
    /// The controller that the asked port belongs to.
    pub controller: u16,
    /// The physical function that it belongs to.
    pub pf: u16,
    /// The ranges.
    pub ranges: Vec<RepresentorRange>,
}

impl Representors {
    /// What the representor `id` (a [`SwitchPort::port`]) stands for: its range,
    /// and the number of the VF or SF.
    pub fn find(&self, id: u32) -> Option<(&RepresentorRange, i64)> {
        self.ranges.iter().find_map(|range| Some((range, range.function_of(id)?)))
    }
}

/// The representors that a port knows of; `None` where its driver has none.
pub fn representors(eal: &Eal, id: DevId) -> Result<Option<Representors>, InfoError> {
    let _one_at_a_time = eal.control_ports();
    let failed = |errno| InfoError { port: id, errno };
    let (mut controller, mut pf) = (0, 0);
    let mut raw = Vec::new();
    loop {
        // A switch has a handful of ranges, so the length always fits.
        let room = u32::try_from(raw.len()).unwrap_or(u32::MAX);
        // SAFETY: `raw` has `room` places, and the numbers are ours to write.
        let known = unsafe {
            sys::shim_eth_representor_info(id.get(), &raw mut controller, &raw mut pf, raw.as_mut_ptr(), room)
        };
        let known = match Errno::check(known) {
            Ok(known) => usize::try_from(known).unwrap_or(0),
            Err(errno) if errno.is_unsupported() => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let complete = known <= raw.len();
        raw.resize(known, sys::shim_representor_range::default());
        if complete {
            break;
        }
    }
    Ok(Some(Representors { controller, pf, ranges: raw.iter().map(range).collect() }))
}

fn range(raw: &sys::shim_representor_range) -> RepresentorRange {
    RepresentorRange {
        function: match raw.type_ {
            sys::RTE_ETH_REPRESENTOR_VF => Function::Vf,
            sys::RTE_ETH_REPRESENTOR_SF => Function::Sf,
            sys::RTE_ETH_REPRESENTOR_PF => Function::Pf,
            _ => Function::None,
        },
        controller: raw.controller,
        pf: raw.pf,
        first_function: raw.first_function,
        ids: raw.id_base..=raw.id_end,
        name: raw.name.iter().take_while(|&&byte| byte != 0).map(|&byte| char::from(byte as u8)).collect(),
    }
}

/// What the driver says, in the shim's struct.
pub(super) fn raw_info(id: DevId) -> Result<sys::shim_eth_info, Errno> {
    let mut info = sys::shim_eth_info::default();
    // SAFETY: `info` is a struct to write to; the port number is checked.
    Errno::check(unsafe { sys::shim_eth_info_get(id.get(), &raw mut info) })?;
    Ok(info)
}

fn name_of(id: DevId) -> Result<String, Errno> {
    // RTE_ETH_NAME_MAX_LEN is 64, as it is for device names.
    let mut name: [c_char; 64] = [0; 64];
    // SAFETY: `name` has room for the longest name; the port number is checked.
    Errno::check(unsafe { sys::rte_eth_dev_get_name_by_port(id.get(), name.as_mut_ptr()) })?;
    // SAFETY: written by DPDK with a zero byte at its end.
    Ok(unsafe { text(name.as_ptr()) }.unwrap_or_default())
}

/// A copy of a C string, `None` for a null pointer.
///
/// # Safety
/// Where it is not null, `pointer` points to a living string with a zero byte at its end.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the caller's word.
    let text = unsafe { CStr::from_ptr(pointer) };
    Some(text.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_representor_id_leads_to_its_function() {
        let range = |function, first_function, ids, name: &str| RepresentorRange {
            function,
            controller: -1,
            pf: 0,
            first_function,
            ids,
            name: name.to_owned(),
        };
        let known = Representors {
            controller: 0,
            pf: 0,
            ranges: vec![
                range(Function::Vf, 4, 100..=103, "pf0vf"),
                range(Function::Pf, -1, 0xffff..=0xffff, "pf0"),
            ],
        };
        let found = |id| known.find(id).map(|(range, function)| (range.function, function));
        assert_eq!(found(100), Some((Function::Vf, 4)));
        assert_eq!(found(103), Some((Function::Vf, 7)));
        assert_eq!(found(0xffff), Some((Function::Pf, -1)));
        assert_eq!(found(99).or(found(104)), None);
    }
}
