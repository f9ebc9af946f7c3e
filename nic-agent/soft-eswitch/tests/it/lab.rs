//! Ports, frames in memory and a way out that fails as it is told.

use std::net::Ipv4Addr;

use nic_flow::seam::{Burst, ChecksumState, NoHeadroom, PacketBuf};
use nic_flow::{MacAddr, PortId, VxlanEncap};
use proptest::prelude::*;
use soft_eswitch::{Egress, Profile, Switch, SwitchConfig, Unsent};

pub(crate) fn vf(n: u16) -> PortId {
    PortId::vf(0, n).unwrap()
}

/// An uplink, the host PF and two VFs.
pub(crate) fn ports() -> Vec<PortId> {
    vec![PortId::uplink(0).unwrap(), PortId::host_pf(0).unwrap(), vf(0), vf(1)]
}

pub(crate) fn switch(profile: Profile, max_rules: usize) -> Switch {
    Switch::new(SwitchConfig { profile, ports: ports(), max_rules, seed: 1 })
}

/// A frame with a little room in front.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
    start: usize,
}

impl Frame {
    pub(crate) fn new(headroom: usize, frame: &[u8]) -> Frame {
        let mut bytes = vec![0; headroom];
        bytes.extend_from_slice(frame);
        Frame { bytes, start: headroom }
    }
}

impl PacketBuf for Frame {
    fn data(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    fn prepend(&mut self, n: usize) -> Result<(), NoHeadroom> {
        self.start = self.start.checked_sub(n).ok_or(NoHeadroom)?;
        Ok(())
    }

    fn trim_front(&mut self, n: usize) {
        self.start += n;
    }

    fn checksum(&self) -> ChecksumState {
        ChecksumState::Complete
    }

    fn set_checksum_complete(&mut self) {}
}

/// Into a tunnel from 192.0.2.2 to 192.0.2.1.
pub(crate) fn encap(vni: u32) -> VxlanEncap {
    VxlanEncap {
        eth_dst: MacAddr::from_u64(0x0200_0000_000a),
        eth_src: MacAddr::from_u64(0x0200_0000_000b),
        vlan: None,
        src: Ipv4Addr::new(192, 0, 2, 2).into(),
        dst: Ipv4Addr::new(192, 0, 2, 1).into(),
        tos: 0,
        ttl: 64,
        vni,
    }
}

/// Keeps what leaves. `faults` are used up one for each call, `None` is success.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Outside {
    pub(crate) sent: Vec<(PortId, Vec<u8>)>,
    pub(crate) missed: Vec<(PortId, Vec<u8>)>,
    pub(crate) faults: Vec<Option<Unsent>>,
}

impl Outside {
    fn fault(&mut self) -> Option<Unsent> {
        self.faults.pop().flatten()
    }
}

impl Egress<Frame> for Outside {
    fn transmit(&mut self, port: PortId, packet: Frame) -> Result<(), Unsent> {
        match self.fault() {
            Some(unsent) => Err(unsent),
            None => {
                self.sent.push((port, packet.data().to_vec()));
                Ok(())
            }
        }
    }

    fn to_representor(&mut self, port: PortId, packet: Frame) -> Result<(), Unsent> {
        match self.fault() {
            Some(unsent) => Err(unsent),
            None => {
                self.missed.push((port, packet.data().to_vec()));
                Ok(())
            }
        }
    }

    fn copy(&mut self, packet: &Frame) -> Option<Frame> {
        self.fault().is_none().then(|| packet.clone())
    }
}

pub(crate) fn burst(frames: &[Frame]) -> Burst<Frame> {
    frames.iter().cloned().collect()
}

/// UDP over IPv4 from 10.0.0.1 to 10.0.0.2, both MAC addresses locally administered.
pub(crate) fn udp(src_port: u16, dst_port: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
    frame.extend_from_slice(&[0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend_from_slice(&src_port.to_be_bytes());
    frame.extend_from_slice(&dst_port.to_be_bytes());
    frame.extend_from_slice(&[0, 12, 0, 0, 1, 2, 3, 4]);
    frame
}

/// `inner` in VXLAN with that VNI, from 192.0.2.1 to 192.0.2.2.
pub(crate) fn vxlan(vni: u8, inner: &[u8]) -> Vec<u8> {
    let datagram = (16 + inner.len()) as u16;
    let mut frame = vec![2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 0xa, 0x08, 0x00, 0x45, 0];
    frame.extend_from_slice(&(datagram + 20).to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0xc0, 0, 0x12, 0xb5]);
    frame.extend_from_slice(&datagram.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 8, 0, 0, 0, 0, 0, vni, 0]);
    frame.extend_from_slice(inner);
    frame
}

/// Frames as of [`plain_frame`], some of them in a tunnel, which may be cut off too.
pub(crate) fn frame() -> impl Strategy<Value = Vec<u8>> {
    let cut = prop_oneof![9 => Just(usize::MAX), 1 => 0usize..70];
    let tunnelled = (0u8..3, plain_frame(), cut).prop_map(|(vni, inner, cut)| {
        let mut frame = vxlan(vni, &inner);
        frame.truncate(cut);
        frame
    });
    prop_oneof![3 => plain_frame(), 1 => tunnelled]
}

/// Frames of a few addresses and ports, of any nesting of tags, sometimes cut off: most of them whole.
fn plain_frame() -> impl Strategy<Value = Vec<u8>> {
    let tags = prop::collection::vec((any::<bool>(), 0u8..3), 0..4);
    let tags = prop_oneof![3 => Just(Vec::new()), 1 => tags];
    let cut = prop_oneof![9 => Just(None), 1 => (0usize..70).prop_map(Some)];
    (0u8..3, 0u8..3, tags, layer3(), cut).prop_map(|(dst, src, tags, layer3, cut)| {
        let mut frame = vec![2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src];
        for (service, vid) in tags {
            frame.extend_from_slice(if service { &[0x88, 0xa8] } else { &[0x81, 0x00] });
            frame.extend_from_slice(&[0x20, vid]);
        }
        frame.extend_from_slice(&layer3);
        frame.truncate(cut.unwrap_or(usize::MAX));
        frame
    })
}

/// An EtherType and what follows.
fn layer3() -> impl Strategy<Value = Vec<u8>> {
    let ipv4 = (0u8..3, 0u8..3, layer4(), prop_oneof![9 => Just(0u8), 1 => Just(0x20), 1 => Just(1)]);
    let ipv4 = ipv4.prop_map(|(src, dst, (proto, layer4), fragment)| {
        let length = (20 + layer4.len()) as u8;
        let mut packet = vec![0x08, 0x00, 0x45, 0, 0, length, 0, 0, fragment & 0x20, fragment & 1];
        packet.extend_from_slice(&[64, proto, 0, 0, 10, 0, src, 1, 10, 0, dst, 1]);
        packet.extend_from_slice(&layer4);
        packet
    });
    let ipv6 = (0u8..3, 0u8..3, layer4()).prop_map(|(src, dst, (proto, layer4))| {
        let mut packet = vec![0x86, 0xdd, 0x60, 0, 0, 0, 0, layer4.len() as u8, proto, 64];
        for last in [src, dst] {
            packet.extend_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        packet.extend_from_slice(&layer4);
        packet
    });
    let arp = (1u8..3, 0u8..3).prop_map(|(operation, sender)| {
        let mut packet = vec![0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, sender];
        packet.extend_from_slice(&[10, 0, sender, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1]);
        packet
    });
    let other = prop::sample::select(vec![vec![0x88, 0xcc, 1, 2], vec![0x00, 0x10, 0xaa]]);
    prop_oneof![4 => ipv4, 3 => ipv6, 1 => arp, 1 => other]
}

/// A protocol and its header.
fn layer4() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let port = || 0u8..3;
    prop_oneof![
        2 => (port(), port()).prop_map(|(src, dst)| (17, vec![0, src, 0, dst, 0, 9, 0, 0, 7])),
        2 => (port(), port(), 0u8..8).prop_map(|(src, dst, flags)| {
            let mut tcp = vec![0, src, 0, dst, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags];
            tcp.extend_from_slice(&[0xff, 0xff, 0, 0, 0, 0]);
            (6, tcp)
        }),
        1 => (0u8..9).prop_map(|kind| (1, vec![kind, 0, 0, 0, 0, 1, 0, 1])),
        1 => Just((47, vec![0, 0, 8, 0])),
    ]
}
