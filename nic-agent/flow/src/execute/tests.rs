use std::vec;
use std::vec::Vec;

use core::net::IpAddr;

use nic_wire::MacAddr;
use proptest::collection::vec as vec_of;
use proptest::prelude::*;

use super::*;
use crate::action::VxlanEncap;
use crate::extract::spec::{Body, Datagram, Fragment, Spec, Transport, V4, V6, Vxlan, specs};
use crate::extract::{extract, tunnelled};
use crate::field::{Field, Tunnel};
use crate::port::PortId;

mod golden;
mod tunnel;

/// A frame in memory.
#[derive(Debug)]
pub(super) struct Frame {
    bytes: Vec<u8>,
    headroom: usize,
    state: ChecksumState,
}

impl Frame {
    pub(super) fn new(bytes: Vec<u8>, state: ChecksumState) -> Frame {
        Frame { bytes, headroom: 1024, state }
    }
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
        // What a real buffer holds there is anybody's guess.
        self.bytes.splice(..0, (0..n).map(|_| 0xee));
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

/// What the list sends to ports, in order.
pub(super) fn sent(actions: &[Action], frame: &mut Frame) -> Vec<(PortId, Vec<u8>)> {
    let mut out = Vec::new();
    execute(actions, frame, |to, frame| match to {
        Destination::Port(port) => out.push((port, frame.bytes.clone())),
        Destination::Flood(_) => panic!("no list here floods"),
    })
    .unwrap();
    out
}

/// A packet that is being rewritten, as values.
pub(super) struct Model {
    pub(super) spec: Spec,
    pub(super) state: ChecksumState,
    /// Tags when its headers were last parsed.
    tags: usize,
}

impl Model {
    pub(super) fn new(spec: Spec, state: ChecksumState) -> Model {
        let tags = spec.tags.len();
        Model { spec, state, tags }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.spec.bytes(self.state)
    }

    pub(super) fn apply(&mut self, action: &Action) {
        let spec = match action {
            Action::EncapVxlan(encap) => tunnel::encapsulated(&self.spec, encap),
            Action::DecapVxlan => match tunnel::decapsulated(&self.spec) {
                Some(inner) if self.tags <= 2 => inner,
                _ => return,
            },
            _ => return apply(&mut self.spec, self.tags, action),
        };
        *self = Model::new(spec, ChecksumState::Complete);
    }
}

/// Changes the values that a packet is built from.
fn apply(spec: &mut Spec, arrived_with: usize, action: &Action) {
    match *action {
        Action::Output(_) | Action::Flood(_) | Action::EncapVxlan(_) | Action::DecapVxlan => {}
        Action::PushVlan { tpid, tci } => spec.tags.insert(0, (tpid, tci)),
        Action::PopVlan => {
            if !spec.tags.is_empty() {
                spec.tags.remove(0);
            }
        }
        Action::SetVlanVid(vid) => {
            if let Some(tag) = spec.tags.first_mut() {
                tag.1 = tag.1 & 0xf000 | vid & 0xfff;
            }
        }
        Action::SetVlanPcp(pcp) => {
            if let Some(tag) = spec.tags.first_mut() {
                tag.1 = tag.1 & 0x1fff | u16::from(pcp) << 13;
            }
        }
        Action::SetEthSrc(mac) => spec.src = mac,
        Action::SetEthDst(mac) => spec.dst = mac,
        // Headers behind too many tags were not parsed.
        _ if arrived_with > 2 => {}
        Action::SetIpSrc(ip) => match (&mut spec.body, ip) {
            (Body::V4(header, _), IpAddr::V4(ip)) => header.src = ip,
            (Body::V6(header, _), IpAddr::V6(ip)) => header.src = ip,
            _ => {}
        },
        Action::SetIpDst(ip) => match (&mut spec.body, ip) {
            (Body::V4(header, _), IpAddr::V4(ip)) => header.dst = ip,
            (Body::V6(header, _), IpAddr::V6(ip)) => header.dst = ip,
            _ => {}
        },
        Action::SetIpDscp(dscp) => {
            if let Body::V4(V4 { tos, .. }, _) | Body::V6(V6 { class: tos, .. }, _) = &mut spec.body {
                *tos = *tos & 3 | dscp << 2;
            }
        }
        Action::SetIpEcn(ecn) => {
            if let Body::V4(V4 { tos, .. }, _) | Body::V6(V6 { class: tos, .. }, _) = &mut spec.body {
                *tos = *tos & !3 | ecn;
            }
        }
        Action::SetIpTtl(new) => {
            if let Body::V4(V4 { ttl, .. }, _) | Body::V6(V6 { hops: ttl, .. }, _) = &mut spec.body {
                *ttl = new;
            }
        }
        Action::DecIpTtl => {
            if let Body::V4(V4 { ttl, .. }, _) | Body::V6(V6 { hops: ttl, .. }, _) = &mut spec.body {
                *ttl = ttl.saturating_sub(1);
            }
        }
        Action::SetL4Src(port) => {
            if let Some((src, _)) = ports(spec) {
                *src = port;
            }
        }
        Action::SetL4Dst(port) => {
            if let Some((_, dst)) = ports(spec) {
                *dst = port;
            }
        }
    }
}

fn ports(spec: &mut Spec) -> Option<(&mut u16, &mut u16)> {
    match &mut spec.body {
        Body::V4(_, Datagram { fragment: Some(Fragment::Later(..)), .. })
        | Body::V6(_, Datagram { fragment: Some(Fragment::Later(..)), .. }) => None,
        Body::V4(_, datagram) | Body::V6(_, datagram) => match &mut datagram.transport {
            Transport::Tcp(repr, _) => Some((&mut repr.src_port, &mut repr.dst_port)),
            Transport::Udp { src, dst, .. } | Transport::Vxlan(Vxlan { src, dst, .. }) => Some((src, dst)),
            _ => None,
        },
        _ => None,
    }
}

fn some_port() -> impl Strategy<Value = PortId> {
    (0u16..4).prop_map(|vf| PortId::vf(0, vf).unwrap())
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        Just(IpAddr::from([0; 4])),
        Just(IpAddr::from([0xff; 16])),
    ]
}

pub(super) fn actions() -> impl Strategy<Value = Vec<Action>> {
    let tpid = prop::sample::select(vec![0x8100u16, 0x88a8]);
    let action = prop_oneof![
        2 => some_port().prop_map(Action::Output),
        2 => (tpid, any::<u16>()).prop_map(|(tpid, tci)| Action::PushVlan { tpid, tci }),
        2 => Just(Action::PopVlan),
        1 => (0u16..4096).prop_map(Action::SetVlanVid),
        1 => (0u8..8).prop_map(Action::SetVlanPcp),
        1 => any::<[u8; 6]>().prop_map(|mac| Action::SetEthSrc(MacAddr(mac))),
        1 => any::<[u8; 6]>().prop_map(|mac| Action::SetEthDst(MacAddr(mac))),
        2 => address().prop_map(Action::SetIpSrc),
        2 => address().prop_map(Action::SetIpDst),
        1 => (0u8..64).prop_map(Action::SetIpDscp),
        1 => any::<u8>().prop_map(Action::SetIpTtl),
        1 => Just(Action::DecIpTtl),
        2 => any::<u16>().prop_map(Action::SetL4Src),
        // That this port makes a tunnel of what follows it is not in the key.
        2 => any::<u16>().prop_filter("no tunnel", |port| *port != 4789).prop_map(Action::SetL4Dst),
        1 => (0u8..4).prop_map(Action::SetIpEcn),
        1 => tunnel::encaps().prop_map(Action::EncapVxlan),
        1 => Just(Action::DecapVxlan),
    ];
    vec_of(action, 0..12)
}

fn states() -> impl Strategy<Value = ChecksumState> {
    prop::sample::select(vec![ChecksumState::Complete, ChecksumState::Partial])
}

/// Whether a sender can leave the packet's transport checksum to the card.
fn has_checksum(spec: &Spec) -> bool {
    let datagram = match &spec.body {
        Body::V4(_, datagram) if !matches!(datagram.transport, Transport::Icmp { .. }) => datagram,
        Body::V6(_, datagram) => datagram,
        _ => return false,
    };
    spec.tags.len() <= 2 && datagram.fragment.is_none() && !matches!(datagram.transport, Transport::Other(_))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_is_sent_is_what_would_have_been_built(
        spec in specs(4), actions in actions(), state in states(),
    ) {
        // What has nothing to complete is not completed on the way into a tunnel.
        let tunnels = actions.iter().any(|action| matches!(action, Action::EncapVxlan(_)));
        let state = if tunnels && !has_checksum(&spec) { ChecksumState::Complete } else { state };
        let mut frame = Frame::new(spec.bytes(state), state);
        let mut model = Model::new(spec, state);
        let mut expected = Vec::new();
        for action in &actions {
            match action {
                Action::Output(port) => expected.push((*port, model.bytes())),
                _ => model.apply(action),
            }
        }
        prop_assert_eq!(sent(&actions, &mut frame), expected);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_rewritten_key_is_the_key_of_the_rewritten_packet(
        spec in specs(2), actions in actions(), state in states(),
    ) {
        let port = PortId::uplink(0).unwrap();
        let bytes = spec.bytes(state);
        let key_after = |list: &[Action]| {
            let list = [list, &[Action::Output(port)]].concat();
            extract(&sent(&list, &mut Frame::new(bytes.clone(), state)).last().unwrap().1, port)
        };
        let mut key = extract(&bytes, port);
        let mut list = Vec::new();
        // A tunnel in the tunnel that was taken away is not in the key.
        let mut nested = false;
        for action in actions {
            match action {
                // A third tag hides from a second parser what the first one saw.
                Action::PushVlan { .. } if key.get(Field::VlanCount) == 2 => continue,
                Action::DecapVxlan if nested => continue,
                Action::DecapVxlan => nested = key.tunnel() == Tunnel::Vxlan,
                Action::EncapVxlan(_) => nested = false,
                _ => {}
            }
            list.push(action);
            action.rewrite(&mut key);
            let mut found = key_after(&list);
            if matches!(action, Action::EncapVxlan(_)) {
                // Whoever executes it chooses the source port.
                key.set(Field::L4Src, found.get(Field::L4Src));
            }
            if nested {
                found.clear_tunnel();
            }
            prop_assert_eq!(found, key, "{:?}", list);
        }
    }

    #[test]
    fn noise_is_rewritten_without_a_panic_and_keeps_its_length(
        spec in specs(4), actions in actions(), cut: prop::sample::Index,
        noise in vec_of((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut bytes = spec.bytes(ChecksumState::Complete);
        for (at, byte) in noise {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let untagged: Vec<_> = actions
            .into_iter()
            .filter(|action| {
                use Action::{DecapVxlan, EncapVxlan, PopVlan, PushVlan};
                !matches!(action, PushVlan { .. } | PopVlan | EncapVxlan(_) | DecapVxlan)
            })
            .collect();
        let length = bytes.len();
        for (_, bytes) in sent(&untagged, &mut Frame::new(bytes, ChecksumState::Complete)) {
            prop_assert_eq!(bytes.len(), length);
        }
    }

    #[test]
    fn a_partial_checksum_is_completed_to_the_one_that_a_sender_computes(spec in specs(3)) {
        let mut bytes = spec.bytes(ChecksumState::Partial);
        let has_one = has_checksum(&spec);
        let state = if has_one { ChecksumState::Complete } else { ChecksumState::Partial };
        prop_assert_eq!(complete_checksum(&mut bytes), has_one);
        prop_assert_eq!(bytes, spec.bytes(state));
    }

    #[test]
    fn what_is_pushed_pops_off_again(spec in specs(4), tci: u16) {
        let bytes = spec.bytes(ChecksumState::Complete);
        let port = PortId::uplink(0).unwrap();
        let list = [Action::push_ctag(tci), Action::Output(port), Action::PopVlan, Action::Output(port)];
        let out = sent(&list, &mut Frame::new(bytes.clone(), ChecksumState::Complete));
        prop_assert_eq!(out[0].1.len(), bytes.len() + 4);
        prop_assert_eq!(&out[1].1, &bytes);
    }
}

#[test]
fn a_list_without_output_sends_nothing_and_leaves_the_packet_alone() {
    let bytes: Vec<u8> = (0..64).collect();
    let mut frame = Frame::new(bytes.clone(), ChecksumState::Complete);
    let list = [Action::push_ctag(1), Action::SetEthDst(MacAddr::BROADCAST)];
    assert!(sent(&list, &mut frame).is_empty());
    assert!(sent(&[], &mut frame).is_empty());
    assert_eq!(frame.bytes, bytes);
}

#[test]
fn the_last_output_is_left_to_the_owner() {
    let [a, b] = [0, 1].map(|vf| PortId::vf(0, vf).unwrap());
    let mut frame = Frame::new(vec![0; 60], ChecksumState::Complete);
    let mut copies = Vec::new();
    let list = [Action::Output(a), Action::SetEthDst(MacAddr::BROADCAST), Action::Output(b), Action::PopVlan];
    let last = execute_to_last(&list, &mut frame, |port, frame| copies.push((port, frame.bytes[0])));
    assert_eq!(last, Ok(Some(Destination::Port(b))));
    assert_eq!(copies, [(Destination::Port(a), 0)]);
    assert_eq!(frame.bytes[0], 0xff);
}

#[test]
fn a_tag_without_room_stops_the_list() {
    let port = PortId::uplink(0).unwrap();
    let mut frame = Frame::new(vec![0; 60], ChecksumState::Complete);
    frame.headroom = 6;
    let list = [Action::push_ctag(1), Action::Output(port), Action::push_ctag(2), Action::Output(port)];
    let mut count = 0;
    assert_eq!(execute(&list, &mut frame, |_, _| count += 1), Err(ExecuteError::NoHeadroom));
    assert_eq!((count, frame.bytes.len()), (1, 64));
}

#[test]
fn a_runt_takes_no_tag() {
    let port = PortId::uplink(0).unwrap();
    let mut frame = Frame::new(vec![1; 13], ChecksumState::Complete);
    let list =
        [Action::push_ctag(1), Action::PopVlan, Action::SetEthSrc(MacAddr::ZERO), Action::Output(port)];
    assert_eq!(sent(&list, &mut frame), [(port, vec![1; 13])]);
}

#[test]
fn no_port_makes_a_udp_checksum_vanish() {
    let out = PortId::uplink(0).unwrap();
    let ip = V4 {
        src: [10, 10, 1, 1].into(),
        dst: [10, 10, 1, 2].into(),
        tos: 0,
        ttl: 64,
        ident: 0,
        options: Vec::new(),
    };
    let mut spec = Spec {
        dst: MacAddr([2, 0, 0, 0, 0, 2]),
        src: MacAddr([2, 0, 0, 0, 0, 1]),
        tags: Vec::new(),
        body: Body::V4(
            ip,
            Datagram {
                transport: Transport::Udp { src: 1, dst: 2, checksum: true },
                payload: Vec::new(),
                fragment: None,
            },
        ),
        padding: 0,
    };
    let before = spec.bytes(ChecksumState::Complete);
    // One port of all makes a sum of 0, which is sent as all ones.
    let mut all_ones = 0;
    for port in 0..=u16::MAX {
        let mut frame = Frame::new(before.clone(), ChecksumState::Complete);
        let list = [Action::SetL4Src(port), Action::Output(out)];
        apply(&mut spec, 0, &list[0]);
        let expected = spec.bytes(ChecksumState::Complete);
        all_ones += u32::from(expected[40..42] == [0xff, 0xff]);
        assert_eq!(sent(&list, &mut frame), [(out, expected)]);
    }
    assert_eq!(all_ones, 1);
}
