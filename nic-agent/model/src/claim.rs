//! What one resource alone may have.

use std::net::IpAddr;

use nic_flow::{MacAddr, PortId};

use crate::name::{Kind, Name, ResourceId};
use crate::resource::Resource;
use crate::violation::{Part, Reason};

/// A value that no two resources of a kind may have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// The device of a Port.
    Device(PortId),
    /// The VXLAN network identifier of a Bridge, at a Vtep.
    Vni(ResourceId, u32),
    /// The MAC address of a Vtep, at a Port.
    VtepMac(ResourceId, MacAddr),
    /// The address of a Vtep, on a VLAN of a Port.
    VtepAddress(ResourceId, Option<u16>, IpAddr),
    /// The address of a TunnelPeer, at a Vtep.
    PeerAddress(ResourceId, IpAddr),
    /// The MAC address of an FdbEntry, in a Bridge.
    Station(ResourceId, MacAddr),
}

impl Claim {
    /// The kind of resource that has such values.
    pub const fn kind(&self) -> Kind {
        match self {
            Claim::Device(_) => Kind::Port,
            Claim::Vni(..) => Kind::Bridge,
            Claim::VtepMac(..) | Claim::VtepAddress(..) => Kind::Vtep,
            Claim::PeerAddress(..) => Kind::TunnelPeer,
            Claim::Station(..) => Kind::FdbEntry,
        }
    }

    /// The field of the resource that makes the claim.
    pub(crate) const fn part(&self) -> Part {
        match self {
            Claim::Device(_) => Part::Device,
            Claim::Vni(..) => Part::Vni,
            Claim::VtepMac(..) | Claim::Station(..) => Part::Mac,
            Claim::VtepAddress(..) | Claim::PeerAddress(..) => Part::Address,
        }
    }

    /// What is wrong with one who claims what another has.
    pub(crate) const fn refused(&self, by: Name) -> Reason {
        let what = match self {
            Claim::Device(_) => return Reason::DeviceInUse(by),
            Claim::Vni(..) => "VNI at the VTEP",
            Claim::VtepMac(..) => "MAC address on the port",
            Claim::VtepAddress(..) => "address on the port's VLAN",
            Claim::PeerAddress(..) => "address at the VTEP",
            Claim::Station(..) => "MAC address in the bridge",
        };
        Reason::InUse { what, by }
    }
}

impl Resource {
    /// What this resource alone may have.
    pub fn claims(&self) -> Vec<Claim> {
        match self {
            Resource::Bridge(bridge) => {
                let vni = bridge.spec.vtep().zip(bridge.spec.vni());
                vni.map(|(vtep, vni)| Claim::Vni(vtep.clone(), vni)).into_iter().collect()
            }
            Resource::FdbEntry(entry) => {
                vec![Claim::Station(entry.spec.bridge().clone(), entry.spec.mac_address())]
            }
            Resource::FlowRule(_) => Vec::new(),
            Resource::Port(port) => vec![Claim::Device(port.spec.device())],
            Resource::TunnelPeer(peer) => {
                vec![Claim::PeerAddress(peer.spec.vtep().clone(), peer.spec.address())]
            }
            Resource::Vtep(vtep) => {
                let (port, spec) = (vtep.spec.port(), &vtep.spec);
                vec![
                    Claim::VtepMac(port.clone(), spec.mac_address()),
                    Claim::VtepAddress(port.clone(), spec.vlan(), spec.address()),
                ]
            }
        }
    }
}
