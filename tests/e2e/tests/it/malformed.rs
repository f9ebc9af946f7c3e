//! Packets that are wrong, or unusual: dropped by reason where a stage reads them, else forwarded as
//! they are.

use std::time::Duration;

use e2e::Stats;

use crate::bench::{Bench, Outcome, peer, vm1, with_rules};

const IPV4: u16 = 0x0800;
const VLAN: u16 = 0x8100;

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&peer().mac()[..], &vm1().mac(), &ethertype.to_be_bytes(), payload].concat()
}

/// An IPv4 header with what follows it; the checksum is left zero, nobody here verifies it.
fn ipv4(proto: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let length = 20 + payload.len() as u16;
    let header = [
        &[0x45, 0][..],
        &length.to_be_bytes(),
        &[0, 7],
        &fragment.to_be_bytes(),
        &[64, proto, 0, 0],
        &vm1().ipv4().octets(),
        &peer().ipv4().octets(),
    ];
    [&header.concat()[..], payload].concat()
}

fn udp(to: u16) -> Vec<u8> {
    [&20_000u16.to_be_bytes()[..], &to.to_be_bytes(), &20u16.to_be_bytes(), &[0, 0], &[7; 12]].concat()
}

fn tags(n: usize, ethertype: u16) -> Vec<u8> {
    let mut bytes = vec![0, 5];
    for _ in 1..n {
        bytes.extend([0x81, 0x00, 0, 6]);
    }
    bytes.extend(ethertype.to_be_bytes());
    bytes
}

/// Each with the reason for which it is dropped by a rule that reads the UDP port, if it is malformed.
/// A VLAN tag that is cut off is not among them: the kernel drops it before the card sees it.
fn frames() -> Vec<(&'static str, Option<&'static str>, Vec<u8>)> {
    let whole = ipv4(17, 0, &udp(5001));
    let with = |at: usize, octet: u8| {
        let mut bytes = whole.clone();
        bytes[at] = octet;
        ethernet(IPV4, &bytes)
    };
    let later = ipv4(17, 100, &[9; 40]);
    vec![
        ("a header that is cut off", Some("malformed.l3"), ethernet(IPV4, &whole[..12])),
        ("a header length below the least", Some("malformed.l3"), with(0, 0x44)),
        ("a header length beyond the packet", Some("malformed.l3"), with(0, 0x4f)),
        ("a total length beyond the frame", Some("malformed.l3"), with(2, 0x7f)),
        ("another version", Some("malformed.l3"), with(0, 0x65)),
        ("UDP that is cut off", Some("malformed.l4"), ethernet(IPV4, &ipv4(17, 0, &udp(5001)[..4]))),
        ("a UDP length beyond the packet", Some("malformed.l4"), with(25, 0xff)),
        ("three VLAN tags", Some("malformed.vlan"), ethernet(VLAN, &[tags(3, IPV4), whole.clone()].concat())),
        ("a later fragment", None, ethernet(IPV4, &later)),
        ("one VLAN tag", None, ethernet(VLAN, &[tags(1, IPV4), whole.clone()].concat())),
        ("two VLAN tags", None, ethernet(VLAN, &[tags(2, IPV4), whole.clone()].concat())),
        ("IP options", None, ethernet(IPV4, &options())),
        ("no IP at all", None, ethernet(0x88b5, b"by experiment, and long enough to be seen")),
        ("a length in the place of a type", None, ethernet(40, &[0x42; 40])),
    ]
}

/// IPv4 with a router alert, and UDP behind it.
fn options() -> Vec<u8> {
    let plain = ipv4(17, 0, &udp(5001));
    let (header, rest) = plain.split_at(20);
    let mut bytes = [header, &[148, 4, 0, 0], rest].concat();
    bytes[0] = 0x46;
    bytes[3] += 4;
    bytes
}

#[test]
fn where_nobody_reads_every_frame_is_forwarded_as_it_is() -> Outcome {
    let lab = Bench::usual()?;
    lab.apply(&with_rules(&[("wire", "in_port=vm1,actions=output:pf0")]))?;
    let sent: Vec<Vec<u8>> = frames().into_iter().map(|(_, _, frame)| frame).collect();
    // The first time by the slow path, the second by the E-Switch.
    for _ in 0..2 {
        let capture = lab.capture(peer())?;
        lab.frames(vm1(), &sent, 1)?;
        let came = capture.finish(sent.len(), Duration::from_secs(5))?;
        for (index, (name, _, frame)) in frames().into_iter().enumerate() {
            assert_eq!(came.get(index), Some(&frame), "{name}");
        }
        assert_eq!(came.len(), sent.len());
        lab.settled_stats()?;
    }
    let stats = lab.settled_stats()?;
    assert_eq!(stats.all_drops(), 0, "{:#}", stats.0);
    let device = vm1().device;
    let forwarded = stats.port(device, "hardwarePackets") + stats.port(device, "rxPackets");
    assert_eq!(forwarded, 2 * sent.len() as u64);
    assert!(stats.hardware() >= sent.len() as u64, "the second time it was the E-Switch: {:#}", stats.0);
    Ok(())
}

#[test]
fn where_a_rule_reads_them_malformed_headers_are_dropped_by_reason() -> Outcome {
    let lab = Bench::usual()?;
    lab.apply(&with_rules(&[
        ("reads", "priority=100,in_port=vm1,udp,tp_dst=5001,actions=output:pf0"),
        ("rest", "priority=1,in_port=vm1,actions=output:vm2"),
    ]))?;
    let mut before: Stats = lab.settled_stats()?;
    for (name, reason, frame) in frames() {
        let at_peer = lab.frames_at(peer());
        lab.frames(vm1(), &[frame], 3)?;
        let after = lab.settled_stats()?;
        let grown = |reason: &str| after.drops(vm1().device, reason) - before.drops(vm1().device, reason);
        let all = after.all_drops() - before.all_drops();
        match reason {
            Some(reason) => {
                assert_eq!((grown(reason), all), (3, 3), "{name}: {reason} alone\n{:#}", after.0);
                assert_eq!(lab.frames_at(peer()), at_peer, "{name} was forwarded");
            }
            None => assert_eq!(all, 0, "{name} was dropped\n{:#}", after.0),
        }
        before = after;
    }
    Ok(())
}
