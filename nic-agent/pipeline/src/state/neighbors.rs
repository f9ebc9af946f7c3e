//! The next hops of VTEPs, as far as translation needs them: an address is known or it is not. Asking,
//! asking again and giving up is the slow path's.

use core::net::IpAddr;
use std::collections::HashMap;

use nic_flow::MacAddr;
use nic_policy::VtepId;
use nic_table::hash::Seed;

use crate::dependency::Touched;

/// Next hops.
#[derive(Debug)]
pub struct Neighbors {
    entries: HashMap<(VtepId, IpAddr), Neighbor, Seed>,
}

/// What is known of one next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbor {
    /// Its MAC address.
    Known(MacAddr),
    /// Nobody answered lately: packets to it are dropped.
    Failed,
}

impl Neighbors {
    pub(super) fn new(seed: Seed) -> Neighbors {
        Neighbors { entries: HashMap::with_hasher(seed) }
    }

    /// What is known; `None` while nobody asked or no answer came yet.
    pub fn get(&self, vtep: VtepId, address: IpAddr) -> Option<Neighbor> {
        self.entries.get(&(vtep, address)).copied()
    }

    /// Sets what is known. `Some(touched)` if that is something else than before.
    pub fn set(&mut self, vtep: VtepId, address: IpAddr, to: Option<Neighbor>) -> Option<Touched> {
        let before = match to {
            Some(neighbor) => self.entries.insert((vtep, address), neighbor),
            None => self.entries.remove(&(vtep, address)),
        };
        (before != to).then_some(Touched::Neighbor(vtep, address))
    }
}
