//! Where the bits of a rewritten key come from.
//!
//! Once an action has overwritten a field, reading it says nothing about the packet that arrived; once
//! a VLAN tag was taken away, reading the outer tag reads what arrived as the inner one, and once a
//! packet came out of a tunnel, reading any field reads what arrived in the tunnel. Without this
//! book-keeping a rewrite would either widen megaflow masks for nothing or, worse, forget bits.

use nic_flow::action::VXLAN_PORT;
use nic_flow::field::TUNNELLED;
use nic_flow::{Action, Field};

/// What the bits of one field of the current key are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The field of the arrived key.
    pub(crate) field: Field,
    /// The bits that still depend on it; the others were set by an action.
    pub(crate) own: u128,
    /// True if the value was computed from the arrived one: each bit then depends on all of them.
    pub(crate) computed: bool,
}

const FIELDS: usize = Field::ALL.len();

/// The origins of all fields.
#[derive(Debug, Clone)]
pub(crate) struct Origins([Origin; FIELDS]);

const ARRIVED: [Origin; FIELDS] = {
    let mut origins = [Origin { field: Field::InPort, own: u128::MAX, computed: false }; FIELDS];
    let mut i = 0;
    while i < FIELDS {
        origins[i].field = Field::ALL[i];
        i += 1;
    }
    origins
};

impl Origins {
    /// Of a key as it arrived.
    pub(crate) const fn arrived() -> Origins {
        Origins(ARRIVED)
    }

    pub(crate) const fn of(&self, field: Field) -> Origin {
        self.0[field as usize]
    }

    fn overwritten(&mut self, field: Field, bits: u128) {
        self.0[field as usize].own &= !bits;
    }

    fn computed(&mut self, field: Field) {
        self.0[field as usize].computed = true;
    }

    fn moved(&mut self, from: Field, to: Field) {
        self.0[to as usize] = self.0[from as usize];
    }

    /// Follows an action that takes effect: [`Action::rewrite`] changed the key, and whether it does
    /// so has been read.
    pub(crate) fn follow(&mut self, action: &Action) {
        match action {
            Action::Output(_) | Action::Flood(_) => {}
            Action::PushVlan { .. } => {
                self.moved(Field::VlanTpid, Field::InnerVlanTpid);
                self.moved(Field::VlanTci, Field::InnerVlanTci);
                self.overwritten(Field::VlanTpid, u128::MAX);
                self.overwritten(Field::VlanTci, u128::MAX);
                self.computed(Field::VlanCount);
            }
            Action::PopVlan => {
                self.moved(Field::InnerVlanTpid, Field::VlanTpid);
                self.moved(Field::InnerVlanTci, Field::VlanTci);
                self.overwritten(Field::InnerVlanTpid, u128::MAX);
                self.overwritten(Field::InnerVlanTci, u128::MAX);
                self.computed(Field::VlanCount);
            }
            Action::SetVlanVid(_) => self.overwritten(Field::VlanTci, 0x0fff),
            Action::SetVlanPcp(_) => self.overwritten(Field::VlanTci, 0xe000),
            Action::SetEthSrc(_) => self.overwritten(Field::EthSrc, u128::MAX),
            Action::SetEthDst(_) => self.overwritten(Field::EthDst, u128::MAX),
            Action::SetIpSrc(_) => self.overwritten(Field::IpSrc, u128::MAX),
            Action::SetIpDst(_) => self.overwritten(Field::IpDst, u128::MAX),
            Action::SetIpDscp(_) => self.overwritten(Field::IpTos, 0xfc),
            Action::SetIpTtl(_) => self.overwritten(Field::IpTtl, u128::MAX),
            Action::DecIpTtl => self.computed(Field::IpTtl),
            Action::SetL4Src(_) => self.overwritten(Field::L4Src, u128::MAX),
            Action::SetL4Dst(port) => {
                self.overwritten(Field::L4Dst, u128::MAX);
                if *port != VXLAN_PORT {
                    self.without_tunnel();
                }
            }
            Action::SetIpEcn(_) => self.overwritten(Field::IpTos, 0x03),
            Action::EncapVxlan(_) => {
                for &(plain, tunnelled) in TUNNELLED {
                    self.moved(plain, tunnelled);
                    self.overwritten(plain, u128::MAX);
                }
                self.overwritten(Field::Tunnel, u128::MAX);
                self.overwritten(Field::Vni, u128::MAX);
            }
            Action::DecapVxlan => {
                for &(plain, tunnelled) in TUNNELLED {
                    self.moved(tunnelled, plain);
                }
                self.without_tunnel();
            }
        }
    }

    fn without_tunnel(&mut self) {
        for &(_, tunnelled) in TUNNELLED {
            self.overwritten(tunnelled, u128::MAX);
        }
        self.overwritten(Field::Tunnel, u128::MAX);
        self.overwritten(Field::Vni, u128::MAX);
    }
}
