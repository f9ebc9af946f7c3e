use super::*;
use crate::testing::hex;
use proptest::prelude::*;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

// raw(IPv6(src='2001:db8::1', dst='2001:db8::2', tc=0xb9, fl=0xabcde, hlim=63, nh=17)/b'\xde\xad')
const GOLDEN: &str = "6b9abcde0002113f 20010db8000000000000000000000001
    20010db8000000000000000000000002 dead";
// raw(IPv6(src='2001:db8::1', dst='2001:db8::2')/IPv6ExtHdrHopByHop(options=[RouterAlert()])/
//     IPv6ExtHdrRouting(addresses=['2001:db8::3'])/IPv6ExtHdrFragment(offset=0, m=1, id=0xcafef00d)/
//     IPv6ExtHdrDestOpt(options=[PadN(optdata=b'\0'*4)])/UDP(sport=1, dport=2)/b'hi')
const GOLDEN_EXTENSIONS: &str = "60000000003a0040 20010db8000000000000000000000001
    20010db8000000000000000000000002 2b00050200000100
    2c0200010000000020010db8000000000000000000000003
    3c000001cafef00d 1100010400000000 00010002000a3bf8 6869";
// raw(IPv6(src='2001:db8::1', dst='2001:db8::2')/IPv6ExtHdrFragment(nh=6, offset=185, m=0, id=7)/b'tail')
const GOLDEN_FRAGMENT: &str = "60000000000c2c40 20010db8000000000000000000000001
    20010db8000000000000000000000002 060005c800000007 7461696c";

#[test]
fn a_golden_packet_reads_field_by_field_and_emits_the_same_bytes() {
    let bytes = hex(GOLDEN);
    let packet = Packet::new_checked(&bytes).unwrap();
    assert_eq!((packet.dscp(), packet.ecn()), (46, 1));
    assert_eq!(packet.payload(), [0xde, 0xad]);
    let repr = Repr {
        src: "2001:db8::1".parse().unwrap(),
        dst: "2001:db8::2".parse().unwrap(),
        next_header: IpProto::UDP,
        hop_limit: 63,
        traffic_class: 0xb9,
        flow_label: 0xabcde,
        payload_len: 2,
    };
    assert_eq!(Repr::parse(&packet), Ok(repr));
    let text = "ipv6 2001:db8::1 > 2001:db8::2 udp hlim 63 len 2 class 0xb9";
    assert_eq!(packet.to_string(), text);
    let mut out = [0xff; HEADER_LEN];
    repr.emit(&mut Packet::new_unchecked(&mut out[..]));
    assert_eq!(out[..], bytes[..HEADER_LEN]);
}

#[test]
fn a_golden_chain_of_extensions_is_walked_to_its_end() {
    let bytes = hex(GOLDEN_EXTENSIONS);
    let packet = Packet::new_checked(&bytes).unwrap();
    let end = packet.extensions().unwrap();
    let fragment = Fragment { offset: 0, more: true, ident: 0xcafe_f00d };
    let expected =
        Extensions { proto: IpProto::UDP, offset: 8 + 24 + 8 + 8, fragment: Some(fragment), routed: true };
    assert_eq!(end, expected);
    assert!(!fragment.is_atomic() && !end.is_later_fragment());
    assert_eq!(packet.payload()[end.offset..][..4], [0, 1, 0, 2]);
}

#[test]
fn a_later_fragment_ends_the_walk() {
    let bytes = hex(GOLDEN_FRAGMENT);
    let end = Packet::new_checked(&bytes).unwrap().extensions().unwrap();
    assert_eq!((end.proto, end.offset), (IpProto::TCP, 8));
    assert_eq!(end.fragment, Some(Fragment { offset: 1480, more: false, ident: 7 }));
    // A later fragment's bytes are never read as a header, whatever they are called.
    let tail = [60, 0, 0x05, 0xc8, 0, 0, 0, 7];
    let end = Extensions::walk(IpProto::FRAGMENT, &tail).unwrap();
    assert!(end.is_later_fragment() && end.proto == IpProto::DST_OPTS && end.offset == 8);
}

#[test]
fn a_walk_is_bounded() {
    let chain = |count: usize| -> Vec<u8> {
        let mut bytes = Vec::new();
        for left in (0..count).rev() {
            bytes.extend([if left == 0 { 17 } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
        }
        bytes
    };
    let end = Extensions::walk(IpProto::DST_OPTS, &chain(MAX_EXTENSIONS)).unwrap();
    assert_eq!((end.proto, end.offset), (IpProto::UDP, 64));
    let error = Extensions::walk(IpProto::DST_OPTS, &chain(MAX_EXTENSIONS + 1));
    assert_eq!(error, Err(WireError::TooManyExtensions));
}

#[test]
fn bad_extensions_are_refused_with_the_reason() {
    let twice = [44, 0, 0, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(Extensions::walk(IpProto::FRAGMENT, &twice), Err(WireError::RepeatedFragment));
    let long = [17, 1, 0, 0, 0, 0, 0, 0];
    let error = Extensions::walk(IpProto::HOP_BY_HOP, &long);
    assert_eq!(error, Err(WireError::Truncated { needed: 16, have: 8 }));
    let error = Extensions::walk(IpProto::ROUTING, &[17, 0, 0]);
    assert_eq!(error, Err(WireError::Truncated { needed: 8, have: 3 }));
    // An authentication header counts in words of four bytes.
    let mut auth = [0; 24];
    (auth[0], auth[1]) = (6, 4);
    let end = Extensions::walk(IpProto::AH, &auth).unwrap();
    assert_eq!((end.proto, end.offset), (IpProto::TCP, 24));
}

#[test]
fn bad_fixed_headers_are_refused() {
    let mut bytes = hex(GOLDEN);
    let refused = |bytes: &[u8]| Packet::new_checked(bytes).unwrap_err();
    assert_eq!(refused(&bytes[..39]), WireError::Truncated { needed: 40, have: 39 });
    assert_eq!(refused(&bytes[..41]), WireError::Truncated { needed: 42, have: 41 });
    bytes[0] = 0x45;
    assert_eq!(refused(&bytes), WireError::BadVersion(4));
}

proptest! {
    #[test]
    fn what_is_emitted_parses_back(
        src: [u8; 16], dst: [u8; 16], next_header: u8, hop_limit: u8, traffic_class: u8,
        flow_label in 0u32..0x10_0000, payload_len in 0u16..200,
    ) {
        let repr = Repr {
            src: src.into(),
            dst: dst.into(),
            next_header: IpProto(next_header),
            hop_limit, traffic_class, flow_label, payload_len,
        };
        let mut bytes = vec![0xff; HEADER_LEN + usize::from(payload_len)];
        repr.emit(&mut Packet::new_unchecked(&mut bytes));
        prop_assert_eq!(Repr::parse(&Packet::new_unchecked(&bytes)), Ok(repr));
    }

    #[test]
    fn a_walk_over_any_bytes_ends_inside_them(
        first in prop::sample::select(vec![0u8, 43, 44, 51, 60, 6]),
        mut bytes in prop::collection::vec(prop::sample::select(vec![0u8, 1, 6, 43, 44, 51, 60]), 0..120),
        noise: u8, at: usize,
    ) {
        if !bytes.is_empty() {
            let at = at % bytes.len();
            bytes[at] = noise;
        }
        if let Ok(end) = Extensions::walk(IpProto(first), &bytes) {
            prop_assert!(end.offset <= bytes.len());
            prop_assert!(end.is_later_fragment() || !is_extension(end.proto));
        }
    }

    #[test]
    fn no_getter_of_a_checked_view_panics(
        mut bytes in prop::collection::vec(any::<u8>(), 0..160), likely: bool,
    ) {
        if likely && bytes.len() >= HEADER_LEN {
            bytes[0] = 0x60;
            bytes[4] = 0;
        }
        if let Ok(mut packet) = Packet::new_checked(&mut bytes) {
            let _ = (packet.version(), packet.dscp(), packet.ecn(), packet.flow_label());
            let _ = (packet.payload_len(), packet.next_header(), packet.hop_limit());
            let _ = (packet.src(), packet.dst(), packet.payload().len(), packet.to_string());
            let _ = (packet.extensions(), packet.payload_mut().len());
        }
    }
}
