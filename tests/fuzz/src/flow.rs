//! Packets: every frame has a key, and the key follows the frame through any action list.

use std::net::IpAddr;

use nic_flow::action::{ENTROPY_PORTS, VxlanEncap};
use nic_flow::execute::{complete_checksum, entropy, execute as run};
use nic_flow::extract::{extract as key_of, tunnelled};
use nic_flow::field::{L3, L4, TUNNELLED, Tunnel};
use nic_flow::seam::{ChecksumState, NoHeadroom, PacketBuf};
use nic_flow::{Action, Field, FlowKey, MacAddr, PortId};

/// `nic_flow::extract`: fields behind a bad header are zero, and nothing depends on bytes past the headers.
pub fn extract(frame: &[u8]) {
    let key = key_of(frame, PortId::from_bits(0x8003));
    assert_eq!(key.get(Field::InPort), 0x8003);
    let zero = |fields: &[Field]| assert!(fields.iter().all(|&field| key.get(field) == 0), "{key:?}");
    if key.l3() != L3::Ok {
        zero(&[Field::IpProto, Field::IpTos, Field::IpTtl, Field::IpSrc, Field::IpDst, Field::ArpSha]);
        zero(&[Field::ArpTha, Field::IpFrag, Field::L4]);
    }
    if key.l4() != L4::Ok {
        zero(&[Field::L4Src, Field::L4Dst, Field::TcpFlags]);
    }
    if key.get(Field::VlanCount) == 0 {
        zero(&[Field::VlanTpid, Field::VlanTci]);
    }
    if key.get(Field::VlanCount) < 2 {
        zero(&[Field::InnerVlanTpid, Field::InnerVlanTci]);
    }
    let inner = tunnelled(frame);
    assert_eq!(inner.is_some(), key.tunnel() == Tunnel::Vxlan);
    match inner {
        Some(inner) => {
            let alone = key_of(inner, PortId::from_bits(0));
            assert!(TUNNELLED.iter().all(|&(plain, tunnelled)| key.get(tunnelled) == alone.get(plain)));
        }
        None => {
            zero(&[Field::Vni]);
            assert!(TUNNELLED.iter().all(|&(_, tunnelled)| key.get(tunnelled) == 0), "{key:?}");
        }
    }
    // Padding of the link is in no field, but the frame in a tunnel reaches to the end of the packet.
    if frame.len() >= 14 && key.l3() == L3::Ok && inner.is_none() {
        let padded: Vec<u8> = frame.iter().copied().chain([0xa5; 8]).collect();
        assert_eq!(key_of(&padded, PortId::from_bits(0x8003)), key);
    }
}

/// `nic_flow::execute`: the first bytes choose the actions, the rest is the frame.
///
/// The key of what is sent is the key on arrival, rewritten by the same actions.
pub fn execute(bytes: &[u8]) {
    let Some((&count, bytes)) = bytes.split_first() else {
        return;
    };
    let mut bytes = bytes;
    let mut actions = Vec::new();
    for _ in 0..count % 12 {
        let Some((record, rest)) = bytes.split_at_checked(1 + ARGUMENT) else {
            break;
        };
        bytes = rest;
        actions.push(action(record[0], &record[1..]));
    }
    let port = PortId::from_bits(0x8000);
    actions.push(Action::Output(port));

    let state = if count & 0x80 == 0 { ChecksumState::Complete } else { ChecksumState::Partial };
    let mut frame = Frame { bytes: bytes.to_vec(), headroom: 1024, state };
    let mut key = Tracked::new(bytes, port);
    let mut expected = Vec::new();
    for action in &actions {
        match action {
            Action::Output(_) => expected.push(key.comparable.then_some(key.key)),
            _ => key.rewrite(action),
        }
    }
    // Whoever executes an encapsulation chooses its source port.
    let chosen = actions.iter().any(|action| matches!(action, Action::EncapVxlan(_)));
    let fixed = |key: FlowKey| {
        if chosen { key.with(Field::L4Src, 0).with(Field::TunL4Src, 0) } else { key }
    };
    let mut sent: Vec<FlowKey> = Vec::new();
    run(&actions, &mut frame, |_, frame| sent.push(fixed(key_of(&frame.bytes, port))))
        .expect("there is room");
    assert_eq!(sent.len(), expected.len());
    for (sent, expected) in sent.iter().zip(&expected) {
        assert!(
            expected.is_none_or(|expected| fixed(expected) == *sent),
            "{sent:?}\n{expected:?}\n{actions:?}"
        );
    }
    assert!(ENTROPY_PORTS.contains(&entropy(&frame.bytes)));

    // A checksum is in no key.
    let before = key_of(&frame.bytes, port);
    complete_checksum(&mut frame.bytes);
    assert_eq!(key_of(&frame.bytes, port), before);
}

/// A key that follows a packet through its actions, as long as it can.
struct Tracked {
    key: FlowKey,
    /// False once a second parser sees other headers than the first.
    comparable: bool,
}

impl Tracked {
    fn new(bytes: &[u8], port: PortId) -> Tracked {
        let key = key_of(bytes, port);
        // Beyond the tags that are parsed nothing is known, nor of a frame without a header.
        Tracked { key, comparable: key.get(Field::VlanCount) < 3 && bytes.len() >= 14 }
    }

    fn rewrite(&mut self, action: &Action) {
        match action {
            Action::PushVlan { .. } if self.key.get(Field::VlanCount) == 2 => self.comparable = false,
            // It can make a tunnel of what follows, which is in no key before.
            Action::SetL4Dst(4789) => self.comparable = false,
            Action::DecapVxlan if self.key.tunnel() == Tunnel::Vxlan => {
                let inner = self.key.get(Field::TunVlanCount);
                // A tunnel in the tunnel is in no key either.
                let nested = self.key.get(Field::TunL4Dst) == 4789;
                self.comparable &= inner < 3 && !nested;
            }
            _ => {}
        }
        action.rewrite(&mut self.key);
    }
}

const ARGUMENT: usize = 16;

fn action(kind: u8, argument: &[u8]) -> Action {
    let mut wide = [0; ARGUMENT];
    wide.copy_from_slice(argument);
    let [a, b, c, d, e, f, ..] = wide;
    let half = u16::from_be_bytes([a, b]);
    let mac = MacAddr([a, b, c, d, e, f]);
    let ip = if kind & 0x80 == 0 { IpAddr::from([a, b, c, d]) } else { IpAddr::from(wide) };
    match kind % 17 {
        0 => Action::Output(PortId::from_bits(half)),
        1 => Action::PushVlan { tpid: if c & 1 == 0 { 0x8100 } else { 0x88a8 }, tci: half },
        2 => Action::PopVlan,
        3 => Action::SetVlanVid(half & 0xfff),
        4 => Action::SetVlanPcp(a & 7),
        5 => Action::SetEthSrc(mac),
        6 => Action::SetEthDst(mac),
        7 => Action::SetIpSrc(ip),
        8 => Action::SetIpDst(ip),
        9 => Action::SetIpDscp(a & 63),
        10 => Action::SetIpTtl(a),
        11 => Action::DecIpTtl,
        12 => Action::SetL4Src(half),
        13 => Action::SetL4Dst(half),
        14 => Action::SetIpEcn(a & 3),
        15 => Action::EncapVxlan(encap(mac, ip, half)),
        _ => Action::DecapVxlan,
    }
}

fn encap(mac: MacAddr, ip: IpAddr, half: u16) -> VxlanEncap {
    VxlanEncap {
        eth_dst: mac,
        eth_src: mac,
        vlan: (half & 1 == 1).then_some(half),
        src: ip,
        dst: ip,
        tos: half as u8,
        ttl: (half >> 8) as u8,
        vni: u32::from(half),
    }
}

struct Frame {
    bytes: Vec<u8>,
    headroom: usize,
    state: ChecksumState,
}

impl PacketBuf for Frame {
    fn data(&self) -> &[u8] {
        &self.bytes
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn prepend(&mut self, n: usize) -> Result<(), NoHeadroom> {
        self.headroom = self.headroom.checked_sub(n).ok_or(NoHeadroom)?;
        self.bytes.splice(..0, std::iter::repeat_n(0xee, n));
        Ok(())
    }

    fn trim_front(&mut self, n: usize) {
        self.bytes.drain(..n);
        self.headroom += n;
    }

    fn checksum(&self) -> ChecksumState {
        self.state
    }

    fn set_checksum_complete(&mut self) {
        self.state = ChecksumState::Complete;
    }
}
