use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::extract::spec::specs;
use crate::field::{Frag, TUNNELLED};
use crate::seam::ChecksumState;

mod golden;

fn port() -> PortId {
    PortId::vf(0, 3).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// An Ethernet header in front of `rest`.
fn frame(ethertype: u16, rest: &[u8]) -> Vec<u8> {
    let mut bytes = hex("020000000002 020000000001");
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(rest);
    bytes
}

/// An IPv4 header of `words` words, without checksum, in front of `payload`.
fn v4(words: u8, proto: u8, flags_and_offset: u16, payload: &[u8]) -> Vec<u8> {
    let header = usize::from(words) * 4;
    let mut bytes = std::vec![0; header];
    bytes[0] = 0x40 | words;
    bytes[2..4].copy_from_slice(&((header + payload.len()) as u16).to_be_bytes());
    bytes[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
    bytes[9] = proto;
    bytes.extend(payload);
    frame(0x0800, &bytes)
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = std::vec![0; 40];
    bytes[0] = 0x60;
    bytes[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes[6] = next;
    bytes.extend(payload);
    frame(0x86dd, &bytes)
}

fn state(frame: &[u8]) -> (L3, L4, Frag) {
    let key = extract(frame, port());
    (key.l3(), key.l4(), key.frag())
}

#[test]
fn a_runt_is_malformed_and_has_no_addresses() {
    for length in 0..14 {
        let key = extract(&frame(0x0800, &[])[..length], port());
        assert_eq!(key.l3(), L3::Malformed);
        assert_eq!(key.in_port(), port());
        assert_eq!(key.get(Field::EthSrc), 0);
    }
    assert_eq!(state(&frame(0x0800, &[])), (L3::Malformed, L4::Other, Frag::No));
}

#[test]
fn tags_past_the_limit_and_cut_tags_count_as_three() {
    let deep = hex("0064 8100 0065 88a8 0066 0800");
    let key = extract(&frame(0x8100, &deep), port());
    assert_eq!(key.get(Field::VlanCount), 3);
    assert_eq!((key.eth_type(), key.l3()), (0x88a8, L3::Other));
    assert_eq!((key.get(Field::VlanTci), key.get(Field::InnerVlanTci)), (0x64, 0x65));
    for cut in [0, 3, 4, 7] {
        let key = extract(&frame(0x8100, &deep[..cut]), port());
        assert_eq!((key.get(Field::VlanCount), key.l3()), (3, L3::Malformed), "{cut} bytes");
    }
}

#[test]
fn a_bad_ipv4_header_is_malformed_and_its_fields_are_zero() {
    let good = v4(5, 17, 0, &[0, 1, 0, 2, 0, 8, 0, 0]);
    assert_eq!(state(&good), (L3::Ok, L4::Ok, Frag::No));
    let bad = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[14 + at] = value;
        let key = extract(&bytes, port());
        assert_eq!((key.l3(), key.l4()), (L3::Malformed, L4::Other), "byte {at} = {value:#x}");
        assert_eq!(key.get(Field::IpProto), 0);
    };
    bad(0, 0x44); // header shorter than five words
    bad(0, 0x4f); // header longer than the packet
    bad(0, 0x65); // IPv6 under IPv4's EtherType
    bad(3, 19); // total length shorter than the header
    bad(3, 29); // total length past the frame
}

#[test]
fn ipv4_options_move_layer_4() {
    let mut bytes = v4(7, 17, 0, &[0x12, 0x34, 0x56, 0x78, 0, 8, 0, 0]);
    bytes[14 + 20] = 0x94;
    let key = extract(&bytes, port());
    assert_eq!((key.get(Field::L4Src), key.get(Field::L4Dst)), (0x1234, 0x5678));
}

#[test]
fn layer_4_malformed_is_told_apart_from_absent() {
    let l4 = |frame: &[u8]| extract(frame, port()).l4();
    assert_eq!(l4(&v4(5, 17, 0, &[0; 7])), L4::Malformed, "UDP cut");
    assert_eq!(l4(&v4(5, 17, 0, &[0, 1, 0, 2, 0, 7, 0, 0])), L4::Malformed, "UDP length under 8");
    assert_eq!(l4(&v4(5, 17, 0, &[0, 1, 0, 2, 0, 9, 0, 0])), L4::Malformed, "UDP length past IP's");
    assert_eq!(l4(&v4(5, 6, 0, &[0; 20])), L4::Malformed, "TCP offset 0");
    assert_eq!(l4(&v4(5, 1, 0, &[8, 0, 0, 0])), L4::Malformed, "ICMP cut");
    assert_eq!(l4(&v4(5, 58, 0, &[0; 8])), L4::Other, "ICMPv6 over IPv4");
    assert_eq!(l4(&v6(1, &[0; 8])), L4::Other, "ICMP over IPv6");
    assert_eq!(l4(&v4(5, 132, 0, &[])), L4::Other);
}

#[test]
fn fragments_are_told_apart() {
    let udp = [0x12, 0x34, 0x56, 0x78, 5, 0xdc, 0, 0];
    assert_eq!(state(&v4(5, 17, 0x2000, &udp)), (L3::Ok, L4::Ok, Frag::First));
    assert_eq!(state(&v4(5, 17, 0x2001, &udp)), (L3::Ok, L4::LaterFragment, Frag::Later));
    assert_eq!(state(&v4(5, 17, 0x0001, &udp)), (L3::Ok, L4::LaterFragment, Frag::Later));
    assert_eq!(state(&v4(5, 17, 0x4000, &udp)), (L3::Ok, L4::Malformed, Frag::No));
    assert_eq!(state(&v4(5, 6, 0x2000, &[0x50; 8])), (L3::Ok, L4::Malformed, Frag::First), "tiny");
    let with_header = |low| {
        let mut bytes = std::vec![17, 0, 0, low, 0, 0, 0, 1];
        bytes.extend([0, 1, 0, 2, 0, 8, 0, 0]);
        bytes
    };
    assert_eq!(state(&v6(44, &with_header(0))), (L3::Ok, L4::Ok, Frag::No), "atomic");
    assert_eq!(state(&v6(44, &with_header(1))), (L3::Ok, L4::Ok, Frag::First));
    assert_eq!(state(&v6(44, &with_header(8))), (L3::Ok, L4::LaterFragment, Frag::Later));
}

#[test]
fn a_broken_extension_chain_leaves_the_fixed_header_readable() {
    let key = extract(&v6(0, &[17, 9, 0, 0, 0, 0, 0, 0]), port());
    assert_eq!((key.l3(), key.l4()), (L3::Ok, L4::Malformed));
    assert_eq!(key.get(Field::IpProto), 0);
    let long: Vec<u8> = [60, 0, 1, 4, 0, 0, 0, 0].repeat(9);
    let key = extract(&v6(60, &long), port());
    assert_eq!((key.l3(), key.l4(), key.get(Field::IpProto)), (L3::Ok, L4::Malformed, 60));
}

#[test]
fn an_arp_message_of_another_kind_is_malformed() {
    let mut bytes = frame(0x0806, &hex("0001080006040001 020000000001 0a0a0101 000000000000 0a0a0102"));
    assert_eq!(extract(&bytes, port()).l3(), L3::Ok);
    bytes[14 + 4] = 8;
    assert_eq!(extract(&bytes, port()).l3(), L3::Malformed);
    assert_eq!(extract(&bytes[..41], port()).l3(), L3::Malformed);
}

/// A VXLAN header with VNI 7 in UDP, in front of `inner`.
fn vxlan(udp_length: u16, flags: u8, inner: &[u8]) -> Vec<u8> {
    let mut bytes = hex("c000 12b5 0000 0000 00000000 000007ff");
    bytes[4..6].copy_from_slice(&udp_length.to_be_bytes());
    bytes[8] = flags;
    bytes.extend(inner);
    bytes
}

#[test]
fn a_tunnel_is_whole_or_malformed() {
    let inner = frame(0x88cc, &[]);
    let status = |flags_and_offset, udp: &[u8]| {
        let key = extract(&v4(5, 17, flags_and_offset, udp), port());
        (key.tunnel(), key.get(Field::Vni))
    };
    assert_eq!(status(0, &vxlan(30, 0x08, &inner)), (Tunnel::Vxlan, 7));
    assert_eq!(status(0, &vxlan(30, 0xff, &inner)), (Tunnel::Vxlan, 7), "reserved flags");
    assert_eq!(status(0, &vxlan(30, 0xf7, &inner)), (Tunnel::Malformed, 0), "no valid VNI");
    assert_eq!(status(0, &vxlan(29, 0x08, &inner)), (Tunnel::Malformed, 0), "behind the datagram");
    assert_eq!(status(0, &vxlan(29, 0x08, &inner[..13])), (Tunnel::Malformed, 0), "cut");
    assert_eq!(status(0, &vxlan(15, 0x08, &inner)), (Tunnel::Malformed, 0), "no VXLAN header");
    assert_eq!(status(0, &vxlan(8, 0x08, &[])), (Tunnel::Malformed, 0), "empty datagram");
    assert_eq!(status(0, &vxlan(31, 0x08, &inner)), (Tunnel::None, 0), "malformed UDP");
    assert_eq!(status(0x2000, &vxlan(30, 0x08, &inner)), (Tunnel::None, 0), "first fragment");
    assert_eq!(status(0x0003, &vxlan(30, 0x08, &inner)), (Tunnel::None, 0), "later fragment");
    let mut reply = vxlan(30, 0x08, &inner);
    reply.swap(0, 2);
    reply.swap(1, 3);
    assert_eq!(status(0, &reply), (Tunnel::None, 0), "from the port, not to it");
}

#[test]
fn the_frame_in_a_tunnel_reaches_to_the_end_of_the_packet() {
    let mut bytes = v4(5, 17, 0, &vxlan(30, 0x08, &frame(0x0800, &[])));
    bytes.extend([9; 6]);
    let inner = tunnelled(&bytes).unwrap();
    assert_eq!((inner.len(), inner[19]), (20, 9));
    assert_eq!(tunnelled(inner), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_field_comes_out_as_it_went_in(spec in specs(4)) {
        let key = extract(&spec.bytes(ChecksumState::Complete), port());
        prop_assert_eq!(key, spec.key(port()));
    }

    #[test]
    fn a_packet_cut_anywhere_keeps_what_is_whole(spec in specs(2), cut: prop::sample::Index) {
        let bytes = spec.bytes(ChecksumState::Complete);
        let whole = extract(&bytes, port());
        let cut = extract(&bytes[..cut.index(bytes.len())], port());
        for &field in Field::ALL {
            let behind = match field {
                Field::L3 | Field::L4 => continue,
                _ => cut.get(field) == 0 || cut.get(field) == whole.get(field),
            };
            // Only the marks of a cut VLAN tag are new.
            let marked = matches!(field, Field::VlanCount | Field::EthType) && cut.get(Field::VlanCount) == 3;
            prop_assert!(behind || marked, "{field}: {cut:?} of {whole:?}");
        }
        prop_assert!(cut.l3() == whole.l3() || cut.l3() == L3::Malformed);
    }

    #[test]
    fn fields_behind_a_bad_header_are_zero_whatever_the_bytes(
        spec in specs(3), noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = spec.bytes(ChecksumState::Complete);
        for (at, byte) in noise {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let key = extract(&bytes, port());
        if key.l3() != L3::Ok {
            for field in [Field::IpProto, Field::IpTtl, Field::IpSrc, Field::IpDst, Field::IpFrag, Field::L4] {
                prop_assert_eq!(key.get(field), 0, "{}", field);
            }
        }
        if key.l4() != L4::Ok {
            for field in [Field::L4Src, Field::L4Dst, Field::TcpFlags] {
                prop_assert_eq!(key.get(field), 0, "{}", field);
            }
        }
        for &(plain, tunnelled) in TUNNELLED {
            let behind = plain.prerequisites().contains(&Field::L3);
            let absent = key.tunnel() != Tunnel::Vxlan
                || behind && L3::from_bits(key.get(Field::TunL3)) != L3::Ok;
            prop_assert!(!absent || key.get(tunnelled) == 0, "{}", tunnelled);
        }
        prop_assert!(key.tunnel() == Tunnel::None || key.get(Field::L4Dst) == 4789);
    }

    #[test]
    fn the_frame_in_a_tunnel_is_as_if_it_had_come_alone(spec in specs(2)) {
        let bytes = spec.bytes(ChecksumState::Complete);
        let key = extract(&bytes, port());
        match tunnelled(&bytes) {
            Some(inner) => {
                let alone = extract(inner, port());
                prop_assert_eq!(key.tunnel(), Tunnel::Vxlan);
                for &(plain, tunnelled) in TUNNELLED {
                    prop_assert_eq!(key.get(tunnelled), alone.get(plain), "{}", tunnelled);
                }
            }
            None => prop_assert_ne!(key.tunnel(), Tunnel::Vxlan),
        }
    }

    #[test]
    fn any_bytes_have_a_key(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let key = extract(&bytes, port());
        prop_assert_eq!(key.in_port(), port());
    }
}
