//! Headers: a checked view answers every getter, and what a `Repr` reads it also writes.

use std::hint::black_box;

use nic_wire::checksum::Pseudo;
use nic_wire::{WireError, arp, ethernet, icmpv4, icmpv6, ipv4, ipv6, tcp, udp, vlan, vxlan};

const PSEUDO_V4: Pseudo =
    Pseudo::V4 { src: core::net::Ipv4Addr::LOCALHOST, dst: core::net::Ipv4Addr::BROADCAST };
const PSEUDO_V6: Pseudo =
    Pseudo::V6 { src: core::net::Ipv6Addr::LOCALHOST, dst: core::net::Ipv6Addr::UNSPECIFIED };

/// `ethernet`.
pub fn ethernet(bytes: &[u8]) {
    let Ok(packet) = ethernet::Packet::new_checked(bytes) else {
        return;
    };
    black_box((packet.to_string(), packet.payload().len()));
    let repr = ethernet::Repr::parse(&packet).expect("checked");
    let mut out = vec![0; repr.buffer_len()];
    repr.emit(&mut ethernet::Packet::new_unchecked(&mut out));
    assert_eq!(out, bytes[..out.len()]);
}

/// `vlan`.
pub fn vlan(bytes: &[u8]) {
    let Ok(packet) = vlan::Packet::new_checked(bytes) else {
        return;
    };
    black_box((packet.to_string(), packet.payload().len()));
    let repr = vlan::Repr::parse(&packet).expect("checked");
    let mut out = vec![0; repr.buffer_len()];
    repr.emit(&mut vlan::Packet::new_unchecked(&mut out));
    assert_eq!(out, bytes[..out.len()]);
}

/// `arp`.
pub fn arp(bytes: &[u8]) {
    let Ok(packet) = arp::Packet::new_checked(bytes) else {
        return;
    };
    black_box(packet.to_string());
    match arp::Repr::parse(&packet) {
        Ok(repr) => {
            let mut out = vec![0; repr.buffer_len()];
            repr.emit(&mut arp::Packet::new_unchecked(&mut out));
            assert_eq!(out, bytes[..out.len()]);
        }
        Err(error) => assert_eq!(error, WireError::NotEthernetIpv4),
    }
}

/// `ipv4`.
pub fn ipv4(bytes: &[u8]) {
    let Ok(packet) = ipv4::Packet::new_checked(bytes) else {
        return;
    };
    black_box((packet.to_string(), packet.options().len(), packet.verify_checksum(), packet.is_fragment()));
    let repr = ipv4::Repr::parse(&packet).expect("checked");
    assert_eq!(packet.payload().len(), usize::from(repr.payload_len));
    let mut out = vec![0; repr.buffer_len() + packet.payload().len()];
    repr.emit(&mut ipv4::Packet::new_unchecked(&mut out));
    let again = ipv4::Packet::new_checked(&out).expect("emitted");
    assert!(again.verify_checksum());
    assert_eq!(ipv4::Repr::parse(&again), Ok(repr));
}

/// `ipv6`.
pub fn ipv6(bytes: &[u8]) {
    let Ok(packet) = ipv6::Packet::new_checked(bytes) else {
        return;
    };
    black_box(packet.to_string());
    let repr = ipv6::Repr::parse(&packet).expect("checked");
    let mut out = vec![0; repr.buffer_len()];
    repr.emit(&mut ipv6::Packet::new_unchecked(&mut out));
    assert_eq!(out, bytes[..out.len()]);
    if let Ok(end) = packet.extensions() {
        assert!(end.offset <= packet.payload().len());
    }
}

/// `tcp`.
pub fn tcp(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let Ok(mut packet) = tcp::Packet::new_checked(&mut bytes) else {
        return;
    };
    black_box((packet.to_string(), packet.options().len(), packet.payload().len()));
    packet.fill_checksum(PSEUDO_V4);
    assert!(packet.verify_checksum(PSEUDO_V4));
    let repr = tcp::Repr::parse(&packet).expect("checked");
    let mut out = vec![0; repr.buffer_len()];
    repr.emit(&mut tcp::Packet::new_unchecked(&mut out));
    assert_eq!(tcp::Repr::parse(&tcp::Packet::new_unchecked(&out)), Ok(repr));
}

/// `udp`.
pub fn udp(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let Ok(mut packet) = udp::Packet::new_checked(&mut bytes) else {
        return;
    };
    black_box((packet.to_string(), packet.payload().len()));
    for pseudo in [PSEUDO_V4, PSEUDO_V6] {
        packet.fill_checksum(pseudo);
        assert!(packet.checksum() != 0 && packet.verify_checksum(pseudo));
    }
}

/// `vxlan`.
pub fn vxlan(bytes: &[u8]) {
    let Ok(packet) = vxlan::Packet::new_checked(bytes) else {
        return;
    };
    black_box((packet.to_string(), packet.payload().len()));
    match vxlan::Repr::parse(&packet) {
        Ok(repr) => {
            assert!(packet.has_vni() && repr.vni <= vxlan::MAX_VNI);
            let mut out = vec![0xff; repr.buffer_len()];
            repr.emit(&mut vxlan::Packet::new_unchecked(&mut out));
            // What is reserved is read as anything and written as zero.
            let [a, b, c, ..] = bytes[4..] else { unreachable!("checked") };
            assert_eq!(out, [8, 0, 0, 0, a, b, c, 0]);
        }
        Err(error) => assert!(error == WireError::NoVni && !packet.has_vni()),
    }
}

/// `icmpv4`.
pub fn icmpv4(bytes: &[u8]) {
    let Ok(packet) = icmpv4::Packet::new_checked(bytes) else {
        return;
    };
    black_box((packet.to_string(), packet.verify_checksum(), packet.next_hop_mtu()));
    let Ok(repr) = icmpv4::Repr::parse(&packet) else {
        return;
    };
    let mut out = vec![0xff; repr.buffer_len()];
    repr.emit(&mut icmpv4::Packet::new_unchecked(&mut out));
    let again = icmpv4::Packet::new_checked(&out).expect("emitted");
    assert!(again.verify_checksum());
    assert_eq!(icmpv4::Repr::parse(&again), Ok(repr));
}

/// `icmpv6`.
pub fn icmpv6(bytes: &[u8]) {
    let Ok(packet) = icmpv6::Packet::new_checked(bytes) else {
        return;
    };
    black_box((
        packet.to_string(),
        packet.verify_checksum(PSEUDO_V6),
        packet.target(),
        packet.advert_flags(),
    ));
    let Ok(repr) = icmpv6::Repr::parse(&packet) else {
        return;
    };
    let mut out = vec![0xff; repr.buffer_len()];
    repr.emit(&mut icmpv6::Packet::new_unchecked(&mut out), PSEUDO_V6);
    let again = icmpv6::Packet::new_checked(&out).expect("emitted");
    assert!(again.verify_checksum(PSEUDO_V6));
    assert_eq!(icmpv6::Repr::parse(&again), Ok(repr));
}
