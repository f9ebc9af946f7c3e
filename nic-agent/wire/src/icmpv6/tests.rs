use super::*;
use crate::ipv6;
use crate::testing::hex;
use proptest::prelude::*;
use std::string::ToString;
use std::vec;

// raw(IPv6(src='2001:db8::1', dst='2001:db8::2')/ICMPv6EchoRequest(id=0x1234, seq=5, data=b'ping'))
const GOLDEN_ECHO: &str = "60000000000c3a40 20010db8000000000000000000000001
    20010db8000000000000000000000002 8000333a 12340005 70696e67";
// raw(IPv6(src='fe80::1', dst='ff02::1:ff00:2')/ICMPv6ND_NS(tgt='fe80::2')/
//     ICMPv6NDOptSrcLLAddr(lladdr='02:00:00:00:00:01'))
const GOLDEN_SOLICIT: &str = "6000000000203aff fe800000000000000000000000000001
    ff0200000000000000000001ff000002 87007a97 00000000 fe800000000000000000000000000002
    0101020000000001";
// raw(IPv6(src='fe80::2', dst='fe80::1')/ICMPv6ND_NA(tgt='fe80::2', R=0, S=1, O=1)/
//     ICMPv6NDOptDstLLAddr(lladdr='02:00:00:00:00:02'))
const GOLDEN_ADVERT: &str = "6000000000203aff fe800000000000000000000000000002
    fe800000000000000000000000000001 8800181a 60000000 fe800000000000000000000000000002
    0201020000000002";
// raw(IPv6(src='2001:db8::1', dst='2001:db8::2')/ICMPv6PacketTooBig(mtu=1280)/b'original')
const GOLDEN_TOO_BIG: &str = "6000000000103a40 20010db8000000000000000000000001
    20010db8000000000000000000000002 0200f98b 00000500 6f726967696e616c";

fn reads_and_emits(text: &str, expected: Repr<'_>) {
    let bytes = hex(text);
    let ip = ipv6::Packet::new_checked(&bytes).unwrap();
    let pseudo = Pseudo::V6 { src: ip.src(), dst: ip.dst() };
    let packet = Packet::new_checked(ip.payload()).unwrap();
    assert!(packet.verify_checksum(pseudo));
    assert_eq!(Repr::parse(&packet), Ok(expected));
    let mut out = vec![0xff; expected.buffer_len()];
    expected.emit(&mut Packet::new_unchecked(&mut out), pseudo);
    assert_eq!(out, ip.payload());
}

#[test]
fn golden_messages_read_and_emit_the_same_bytes() {
    let target = "fe80::2".parse().unwrap();
    reads_and_emits(GOLDEN_ECHO, Repr::EchoRequest { ident: 0x1234, seq: 5, data: b"ping" });
    reads_and_emits(GOLDEN_TOO_BIG, Repr::PacketTooBig { mtu: 1280, original: b"original" });
    let link = Some(MacAddr([2, 0, 0, 0, 0, 1]));
    let solicit = Repr::NeighborSolicit { target, link };
    reads_and_emits(GOLDEN_SOLICIT, solicit);
    assert_eq!(solicit.to_string(), "icmp6 neighbor solicit fe80::2 from 02:00:00:00:00:01");
    let flags = AdvertFlags { router: false, solicited: true, replace: true };
    let link = Some(MacAddr([2, 0, 0, 0, 0, 2]));
    reads_and_emits(GOLDEN_ADVERT, Repr::NeighborAdvert { flags, target, link });
}

#[test]
fn bad_messages_are_refused_with_the_reason() {
    let refused = |bytes: &[u8]| Packet::new_checked(bytes).map(|_| ()).unwrap_err();
    assert_eq!(refused(&[128; 7]), WireError::Truncated { needed: 8, have: 7 });
    assert_eq!(refused(&[135; 23]), WireError::Truncated { needed: 24, have: 23 });
    let router = Packet::new_checked([133; 16]).unwrap();
    assert_eq!(Repr::parse(&router), Err(WireError::UnknownType(133)));

    let link = |option: &[u8]| {
        let mut bytes = vec![0; NEIGHBOR_LEN];
        bytes[0] = Kind::NEIGHBOR_SOLICIT.0;
        bytes.extend(option);
        Packet::new_checked(bytes).unwrap().link_address()
    };
    assert_eq!(link(&[]), Ok(None));
    assert_eq!(link(&[14, 0, 0, 0, 0, 0, 0, 0]), Err(WireError::BadOption(14)));
    assert_eq!(link(&[1, 2, 0, 0, 0, 0, 0, 0]), Err(WireError::BadOption(1)));
    assert_eq!(link(&[1]), Err(WireError::Truncated { needed: 26, have: 25 }));
    assert_eq!(link(&[14, 1, 0]), Err(WireError::Truncated { needed: 32, have: 27 }));
    // The other side's option is passed over.
    assert_eq!(link(&[2, 1, 9, 9, 9, 9, 9, 9]), Ok(None));
    let second = [14, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 7];
    assert_eq!(link(&second), Ok(Some(MacAddr([2, 0, 0, 0, 0, 7]))));
}

proptest! {
    #[test]
    fn what_is_emitted_parses_back(
        which in 0u8..7, code: u8, a: u16, b: u16, mtu: u32, bits: [bool; 3],
        target: [u8; 16], link: Option<[u8; 6]>,
        data in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let (data, link, target) = (&data[..], link.map(MacAddr), Ipv6Addr::from(target));
        let [router, solicited, replace] = bits;
        let flags = AdvertFlags { router, solicited, replace };
        let repr = match which {
            0 => Repr::EchoRequest { ident: a, seq: b, data },
            1 => Repr::EchoReply { ident: a, seq: b, data },
            2 => Repr::DstUnreachable { code, original: data },
            3 => Repr::PacketTooBig { mtu, original: data },
            4 => Repr::TimeExceeded { code, original: data },
            5 => Repr::NeighborSolicit { target, link },
            _ => Repr::NeighborAdvert { flags, target, link },
        };
        let pseudo = Pseudo::V6 { src: target, dst: target };
        let mut bytes = vec![0xff; repr.buffer_len()];
        repr.emit(&mut Packet::new_unchecked(&mut bytes), pseudo);
        let packet = Packet::new_checked(&bytes).unwrap();
        prop_assert!(packet.verify_checksum(pseudo));
        prop_assert_eq!(Repr::parse(&packet), Ok(repr));
    }

    #[test]
    fn no_getter_of_a_checked_view_panics(
        mut bytes in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..80),
        kind in prop::sample::select(vec![1u8, 2, 3, 128, 129, 133, 135, 136]),
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        if let Ok(packet) = Packet::new_checked(&bytes) {
            let _ = (packet.kind(), packet.code(), packet.checksum(), packet.echo_ident());
            let _ = (packet.echo_seq(), packet.mtu(), packet.advert_flags());
            let _ = (packet.payload().len(), packet.link_address(), packet.to_string());
            let _ = packet.target();
        }
    }
}
