//! What the fuzz targets of `tests/fuzz` run: everything here that reads what another program made.

use std::ffi::c_void;
use std::ptr;

use dpdk_sys as sys;
use nic_flow::PortId;
use soft_eswitch::{Profile, Switch, SwitchConfig};

use crate::args::DeviceArgs;
use crate::decode::{Attributes, decode, raw};
use crate::representors;

pub use crate::backing::memif_fuzzing::memif;

/// The types of items that are read, with the bytes that each may be read for. Any other has none.
const ITEMS: [(u32, usize); 14] = [
    (sys::RTE_FLOW_ITEM_TYPE_VOID, 0),
    (sys::RTE_FLOW_ITEM_TYPE_PORT_REPRESENTOR, 0),
    (sys::RTE_FLOW_ITEM_TYPE_REPRESENTED_PORT, size_of::<sys::rte_flow_item_ethdev>()),
    (sys::RTE_FLOW_ITEM_TYPE_PORT_ID, size_of::<sys::rte_flow_item_port_id>()),
    (sys::RTE_FLOW_ITEM_TYPE_ETH, size_of::<sys::shim_flow_item_eth>()),
    (sys::RTE_FLOW_ITEM_TYPE_VLAN, size_of::<sys::shim_flow_item_vlan>()),
    (sys::RTE_FLOW_ITEM_TYPE_IPV4, size_of::<sys::shim_flow_item_ipv4>()),
    (sys::RTE_FLOW_ITEM_TYPE_IPV6, size_of::<sys::shim_flow_item_ipv6>()),
    (sys::RTE_FLOW_ITEM_TYPE_TCP, size_of::<sys::shim_flow_item_tcp>()),
    (sys::RTE_FLOW_ITEM_TYPE_UDP, size_of::<sys::shim_flow_item_udp>()),
    (sys::RTE_FLOW_ITEM_TYPE_ICMP, size_of::<sys::shim_flow_item_icmp>()),
    (sys::RTE_FLOW_ITEM_TYPE_ICMP6, size_of::<sys::rte_flow_item_icmp6>()),
    (sys::RTE_FLOW_ITEM_TYPE_ARP_ETH_IPV4, size_of::<sys::rte_flow_item_arp_eth_ipv4>()),
    (sys::RTE_FLOW_ITEM_TYPE_VXLAN, size_of::<sys::shim_flow_item_vxlan>()),
];

/// The same of actions. An encapsulation has a definition, not bytes.
const ACTIONS: [(u32, usize); 22] = [
    (sys::RTE_FLOW_ACTION_TYPE_VOID, 0),
    (sys::RTE_FLOW_ACTION_TYPE_COUNT, 0),
    (sys::RTE_FLOW_ACTION_TYPE_DROP, 0),
    (sys::RTE_FLOW_ACTION_TYPE_OF_POP_VLAN, 0),
    (sys::RTE_FLOW_ACTION_TYPE_DEC_TTL, 0),
    (sys::RTE_FLOW_ACTION_TYPE_VXLAN_DECAP, 0),
    (sys::RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP, 0),
    (sys::RTE_FLOW_ACTION_TYPE_REPRESENTED_PORT, size_of::<sys::rte_flow_action_ethdev>()),
    (sys::RTE_FLOW_ACTION_TYPE_PORT_ID, size_of::<sys::rte_flow_action_port_id>()),
    (sys::RTE_FLOW_ACTION_TYPE_OF_PUSH_VLAN, size_of::<sys::rte_flow_action_of_push_vlan>()),
    (sys::RTE_FLOW_ACTION_TYPE_OF_SET_VLAN_VID, size_of::<sys::rte_flow_action_of_set_vlan_vid>()),
    (sys::RTE_FLOW_ACTION_TYPE_OF_SET_VLAN_PCP, size_of::<sys::rte_flow_action_of_set_vlan_pcp>()),
    (sys::RTE_FLOW_ACTION_TYPE_SET_MAC_SRC, size_of::<sys::rte_flow_action_set_mac>()),
    (sys::RTE_FLOW_ACTION_TYPE_SET_MAC_DST, size_of::<sys::rte_flow_action_set_mac>()),
    (sys::RTE_FLOW_ACTION_TYPE_SET_IPV4_SRC, size_of::<sys::rte_flow_action_set_ipv4>()),
    (sys::RTE_FLOW_ACTION_TYPE_SET_IPV4_DST, size_of::<sys::rte_flow_action_set_ipv4>()),
    (sys::RTE_FLOW_ACTION_TYPE_SET_IPV6_SRC, 16),
    (sys::RTE_FLOW_ACTION_TYPE_SET_IPV6_DST, 16),
    (sys::RTE_FLOW_ACTION_TYPE_SET_TP_SRC, size_of::<sys::rte_flow_action_set_tp>()),
    (sys::RTE_FLOW_ACTION_TYPE_SET_TP_DST, size_of::<sys::rte_flow_action_set_tp>()),
    (sys::RTE_FLOW_ACTION_TYPE_SET_TTL, size_of::<sys::rte_flow_action_set_ttl>()),
    // Not read: its bytes are none.
    (sys::RTE_FLOW_ACTION_TYPE_MARK, 0),
];

/// The memory of a rule: every struct in an allocation of its own size, so that a sanitizer sees one byte too many
/// being read.
#[derive(Default)]
struct Memory {
    structs: Vec<Box<[u8]>>,
    definitions: Vec<(Vec<sys::rte_flow_item>, Box<sys::rte_flow_action_vxlan_encap>)>,
}

impl Memory {
    /// The next bytes of the input, zeroes where it has ended.
    fn take(&mut self, size: usize, input: &mut &[u8]) -> *const c_void {
        let mut bytes = vec![0; size].into_boxed_slice();
        let (given, rest) = input.split_at(size.min(input.len()));
        bytes[..given.len()].copy_from_slice(given);
        *input = rest;
        let pointer = bytes.as_ptr().cast();
        self.structs.push(bytes);
        pointer
    }

    /// A byte says how many items; each is its type, a byte of which bits say what of spec, last and mask is
    /// there, and those.
    fn items(&mut self, input: &mut &[u8]) -> Vec<sys::rte_flow_item> {
        let mut items = Vec::new();
        for _ in 0..next(input) % 24 {
            let (type_, size) = kind(&ITEMS, next(input));
            let there = next(input);
            let mut part = |bit| if there & bit != 0 { self.take(size, input) } else { ptr::null() };
            items.push(sys::rte_flow_item { type_, spec: part(1), last: part(2), mask: part(4) });
        }
        let type_ = sys::RTE_FLOW_ITEM_TYPE_END;
        items.push(sys::rte_flow_item { type_, spec: ptr::null(), last: ptr::null(), mask: ptr::null() });
        items
    }

    /// The same for actions: the type, whether it has a value, and the value.
    fn actions(&mut self, input: &mut &[u8]) -> Vec<sys::rte_flow_action> {
        let mut actions = Vec::new();
        for _ in 0..next(input) % 24 {
            let (type_, size) = kind(&ACTIONS, next(input));
            let conf = match next(input) {
                0 => ptr::null(),
                there if type_ == sys::RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP => self.definition(there, input),
                _ => self.take(size, input),
            };
            actions.push(sys::rte_flow_action { type_, conf });
        }
        actions.push(sys::rte_flow_action { type_: sys::RTE_FLOW_ACTION_TYPE_END, conf: ptr::null() });
        actions
    }

    fn definition(&mut self, there: u8, input: &mut &[u8]) -> *const c_void {
        let mut items = if there == 1 { Vec::new() } else { self.items(input) };
        let definition = if items.is_empty() { ptr::null_mut() } else { items.as_mut_ptr() };
        let conf = Box::new(sys::rte_flow_action_vxlan_encap { definition });
        let pointer = ptr::from_ref(&*conf).cast();
        self.definitions.push((items, conf));
        pointer
    }
}

fn next(input: &mut &[u8]) -> u8 {
    input.split_off_first().copied().unwrap_or(0)
}

/// A type of the table, or beyond it another, which has no bytes.
fn kind(table: &[(u32, usize)], byte: u8) -> (u32, usize) {
    let known = |kind: u32| table.iter().any(|(known, _)| *known == kind);
    match table.get(usize::from(byte)) {
        Some(kind) => *kind,
        None if byte == 0 || known(byte.into()) => table[usize::from(byte) % table.len()],
        None => (byte.into(), 0),
    }
}

/// A rule as an application may hand it over: three bytes of attributes, items, actions. It is refused with a reason,
/// or is a rule of the switch, which takes it or refuses it with a reason.
pub fn rte_flow(mut input: &[u8]) {
    let input = &mut input;
    let bits = next(input);
    let attributes = Attributes {
        group: (bits >> 4).into(),
        priority: u32::from(next(input)) << (bits & 8),
        ingress: bits & 1 != 0,
        egress: bits & 2 != 0,
        transfer: bits & 4 == 0,
        reserved: next(input) == 0xff,
    };
    let mut memory = Memory::default();
    let (pattern, list) = (memory.items(input), memory.actions(input));
    // SAFETY: the array has an END, and its pointers are null or point to bytes of the items' structs.
    let items = unsafe { raw::pattern(pattern.as_ptr()) };
    // SAFETY: as above; the definition of an encapsulation is null or such an array too.
    let actions = unsafe { raw::actions(list.as_ptr()) };
    // What was read is a copy.
    drop(memory);
    let (items, actions) = match (items, actions) {
        (Ok(items), Ok(actions)) => (items, actions),
        (Err(fault), _) | (_, Err(fault)) => {
            assert!(!fault.message.is_empty() && fault.errno > 0);
            return;
        }
    };
    let ports: Vec<PortId> = [PortId::uplink(0), PortId::vf(0, 0)].into_iter().flatten().collect();
    let port_of = |number: u32| ports.get(number as usize).copied();
    for profile in [Profile::Full, Profile::Portable] {
        let fault = match decode(attributes, &items, &actions, profile, ports[0], &port_of) {
            Err(fault) => fault,
            Ok(decoded) => {
                let config = SwitchConfig { profile, ports: ports.clone(), max_rules: 1, seed: 1 };
                let switch = Switch::new(config);
                let checked = switch.validate(&decoded.rule);
                match switch.create(ports[0], decoded.rule.clone()) {
                    Ok(handle) => {
                        assert_eq!(checked, Ok(()));
                        assert!(switch.destroy(handle).is_ok() && switch.is_empty());
                        continue;
                    }
                    Err(error) => decoded.refusal(profile, error),
                }
            }
        };
        assert!(!fault.message.is_empty() && fault.errno > 0);
    }
}

/// A device's arguments, and its representors. What is refused is refused with a reason.
pub fn device_arguments(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let ports = match DeviceArgs::parse(text) {
        Ok(args) => {
            assert!(!args.ports.is_empty() && args.max_rules > 0 && args.buffers >= 64 && args.cache >= 2);
            args.ports.into_keys().collect()
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            Vec::new()
        }
    };
    if let Err(error) = representors::asked(text, ports.into_iter()) {
        assert!(!error.to_string().is_empty());
    }
}
