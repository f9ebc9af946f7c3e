//! Into tunnels and out of them.

use std::boxed::Box;

use super::*;
use crate::action::{ENTROPY_PORTS, Flood};

/// The packet in its tunnel.
pub(super) fn encapsulated(spec: &Spec, encap: &VxlanEncap) -> Spec {
    let tunnel = Vxlan {
        src: entropy(&spec.bytes(ChecksumState::Complete)),
        dst: 4789,
        checksum: false,
        flags: [8, 0, 0, 0],
        vni: encap.vni,
        reserved: 0,
        inner: Box::new(spec.clone()),
    };
    let datagram = Datagram { transport: Transport::Vxlan(tunnel), payload: Vec::new(), fragment: None };
    let body = match (encap.src, encap.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let VxlanEncap { tos, ttl, .. } = *encap;
            Body::V4(V4 { src, dst, tos, ttl, ident: 0, options: Vec::new() }, datagram)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (class, hops) = (encap.tos, encap.ttl);
            let ip = V6 { src, dst, class, label: 0, hops, options_header: false, route: None };
            Body::V6(ip, datagram)
        }
        _ => panic!("the generator gives both addresses one family"),
    };
    let tags = encap.vlan.map(|tci| (0x8100, tci)).into_iter().collect();
    Spec { dst: encap.eth_dst, src: encap.eth_src, tags, body, padding: 0 }
}

/// The packet in the tunnel; what pads the outer one pads it too.
pub(super) fn decapsulated(spec: &Spec) -> Option<Spec> {
    match &spec.body {
        Body::V4(_, datagram) | Body::V6(_, datagram) if datagram.fragment.is_none() => {
            match &datagram.transport {
                Transport::Vxlan(tunnel) if tunnel.dst == 4789 && tunnel.flags[0] & 8 != 0 => {
                    let padding = tunnel.inner.padding + spec.padding;
                    Some(Spec { padding, ..(*tunnel.inner).clone() })
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Outer headers of both families, with and without a tag.
pub(super) fn encaps() -> impl Strategy<Value = VxlanEncap> {
    let addresses = prop_oneof![
        any::<[[u8; 4]; 2]>().prop_map(|ips| ips.map(IpAddr::from)),
        any::<[[u8; 16]; 2]>().prop_map(|ips| ips.map(IpAddr::from)),
    ];
    let tag = prop::option::weighted(0.3, any::<u16>());
    (any::<[[u8; 6]; 2]>(), tag, addresses, any::<[u8; 2]>(), 0u32..1 << 24).prop_map(
        |([eth_dst, eth_src], vlan, [src, dst], [tos, ttl], vni)| {
            let [eth_dst, eth_src] = [eth_dst, eth_src].map(MacAddr);
            VxlanEncap { eth_dst, eth_src, vlan, src, dst, tos, ttl, vni }
        },
    )
}

proptest! {
    #[test]
    fn what_goes_into_a_tunnel_comes_out_as_it_was(spec in specs(4), encap in encaps()) {
        let bytes = spec.bytes(ChecksumState::Complete);
        let port = PortId::uplink(0).unwrap();
        let list = [
            Action::EncapVxlan(encap), Action::Output(port), Action::DecapVxlan, Action::Output(port),
        ];
        let out = sent(&list, &mut Frame::new(bytes.clone(), ChecksumState::Complete));
        prop_assert_eq!(out[0].1.len(), bytes.len() + encap.overhead());
        prop_assert_eq!(tunnelled(&out[0].1), Some(&bytes[..]));
        prop_assert_eq!(&out[1].1, &bytes);
    }

    #[test]
    fn a_checksum_left_to_the_card_is_complete_in_the_tunnel(
        spec in specs(2).prop_filter("it has a checksum", has_checksum), encap in encaps(),
    ) {
        let list = [Action::EncapVxlan(encap), Action::Output(PortId::uplink(0).unwrap())];
        let mut frame = Frame::new(spec.bytes(ChecksumState::Partial), ChecksumState::Partial);
        let out = sent(&list, &mut frame);
        prop_assert_eq!(tunnelled(&out[0].1), Some(&spec.bytes(ChecksumState::Complete)[..]));
        prop_assert_eq!(frame.state, ChecksumState::Complete);
    }

    #[test]
    fn any_bytes_go_through_a_tunnel(
        bytes in vec_of(any::<u8>(), 0..80), state in states(), encap in encaps(),
    ) {
        let port = PortId::uplink(0).unwrap();
        let list = [
            Action::DecapVxlan, Action::EncapVxlan(encap), Action::DecapVxlan, Action::SetIpEcn(1),
            Action::Output(port),
        ];
        let ran = execute(&list, &mut Frame::new(bytes, state), |_, _| ());
        prop_assert_eq!(ran, Ok(()));
    }

    #[test]
    fn all_of_a_connection_has_one_source_port_whatever_else_differs(
        spec in specs(2), ttl: u8, dscp in 0u8..64, macs: [[u8; 6]; 2],
    ) {
        let [src, dst] = macs.map(MacAddr);
        let port = PortId::uplink(0).unwrap();
        let before = spec.bytes(ChecksumState::Complete);
        let is_ip = matches!(spec.body, Body::V4(..) | Body::V6(..));
        let list = [
            Action::SetIpTtl(ttl), Action::SetIpDscp(dscp), Action::SetEthSrc(src),
            Action::SetEthDst(dst), Action::Output(port),
        ];
        let after = &sent(&list, &mut Frame::new(before.clone(), ChecksumState::Complete))[0].1;
        prop_assert!(ENTROPY_PORTS.contains(&entropy(&before)));
        prop_assert!(!is_ip || entropy(&before) == entropy(after));
    }
}

/// UDP in IPv4.
fn datagram(ports: [u16; 2], fragment: Option<Fragment>) -> Spec {
    let ip = V4 {
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 2].into(),
        tos: 0,
        ttl: 64,
        ident: 0,
        options: Vec::new(),
    };
    let [src, dst] = ports;
    let transport = Transport::Udp { src, dst, checksum: true };
    Spec {
        dst: MacAddr([2, 0, 0, 0, 0, 2]),
        src: MacAddr([2, 0, 0, 0, 0, 1]),
        tags: Vec::new(),
        body: Body::V4(ip, Datagram { transport, payload: vec![7; 16], fragment }),
        padding: 0,
    }
}

#[test]
fn connections_spread_over_the_source_ports() {
    let port = |spec: &Spec| entropy(&spec.bytes(ChecksumState::Complete));
    let mut found: Vec<u16> = (0..1000).map(|src| port(&datagram([src, 80], None))).collect();
    found.sort_unstable();
    // Balls into bins: of 1000 in 16384 about 970 bins are hit.
    found.dedup();
    assert!(found.len() > 900, "{}", found.len());
    let quarters: Vec<usize> = (0..4)
        .map(|quarter| found.iter().filter(|&&port| usize::from(port - 49_152) / 4096 == quarter).count())
        .collect();
    assert!(quarters.iter().all(|&count| count > 180), "{quarters:?}");
}

#[test]
fn all_fragments_of_a_packet_have_one_source_port() {
    let port = |fragment| entropy(&datagram([1, 2], fragment).bytes(ChecksumState::Complete));
    let first = port(Some(Fragment::First(8)));
    assert_eq!(first, port(Some(Fragment::Later(8, true))));
    assert_eq!(first, port(Some(Fragment::Later(16, false))));
    assert_ne!(first, port(None));
}

const ENCAP: VxlanEncap = VxlanEncap {
    eth_dst: MacAddr([2, 0, 0, 0, 0, 0xb]),
    eth_src: MacAddr([2, 0, 0, 0, 0, 0xa]),
    vlan: None,
    src: IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1)),
    dst: IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 2)),
    tos: 0,
    ttl: 64,
    vni: 7,
};

#[test]
fn a_frame_without_room_for_its_tunnel_is_left_as_it_was() {
    let bytes = datagram([1, 2], None).bytes(ChecksumState::Partial);
    let mut frame = Frame::new(bytes.clone(), ChecksumState::Partial);
    frame.headroom = 49;
    let list = [Action::EncapVxlan(ENCAP), Action::Output(PortId::uplink(0).unwrap())];
    assert_eq!(execute(&list, &mut frame, |_, _| ()), Err(ExecuteError::NoHeadroom));
    assert_eq!((frame.bytes, frame.state), (bytes, ChecksumState::Partial));
}

#[test]
fn a_frame_too_long_for_the_length_fields_is_not_sent() {
    let run = |length: usize, encap| {
        let list = [Action::EncapVxlan(encap), Action::Output(PortId::uplink(0).unwrap())];
        execute(&list, &mut Frame::new(vec![0; length], ChecksumState::Complete), |_, _| ())
    };
    let longest = 65_535 - 20 - 8 - 8;
    assert_eq!(run(longest, ENCAP), Ok(()));
    assert_eq!(run(longest + 1, ENCAP), Err(ExecuteError::TooLong));
    let [src, dst] = [IpAddr::from([0; 16]), IpAddr::from([1; 16])];
    // IPv6 does not count its own header.
    assert_eq!(run(longest + 20, VxlanEncap { src, dst, ..ENCAP }), Ok(()));
    assert_eq!(run(longest + 21, VxlanEncap { src, dst, ..ENCAP }), Err(ExecuteError::TooLong));
    assert_eq!(run(60, VxlanEncap { dst, ..ENCAP }), Err(ExecuteError::MixedFamilies));
}

#[test]
fn a_flood_is_a_destination_like_a_port() {
    let port = PortId::uplink(0).unwrap();
    let flood = Flood { list: 9, from_tunnel: true };
    let list = [Action::Output(port), Action::push_ctag(5), Action::Flood(flood), Action::PopVlan];
    let mut frame = Frame::new(vec![0; 60], ChecksumState::Complete);
    let mut out = Vec::new();
    let last = execute_to_last(&list, &mut frame, |to, frame| out.push((to, frame.bytes.len())));
    assert_eq!(last, Ok(Some(Destination::Flood(flood))));
    assert_eq!(out, [(Destination::Port(port), 60)]);
    assert_eq!(frame.bytes.len(), 64);
}
