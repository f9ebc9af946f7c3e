use dpdk::ethdev::{Function, discover, representors};
use nic_flow::PortId;

use crate::{Rig, SILENCE, eal, id, packets::plain};

#[test]
fn sixteen_ports_are_known_by_their_ids_and_run_at_once() {
    let (mut rig, mut other) = (Rig::new("net_eswitch5"), Rig::new("net_eswitch7"));
    ports_are_known_by_domain_and_id_never_by_name();
    fifteen_functions_and_an_uplink_run_at_once(&mut rig);
    a_port_without_representor_is_closed_and_its_drops_are_counted(&mut other);
}

fn ports_are_known_by_domain_and_id_never_by_name() {
    let infos = discover(&eal()).unwrap();
    let of = |device: &str| {
        let of_device =
            infos.iter().filter(|info| info.switch.as_ref().unwrap().name.as_deref() == Some(device));
        of_device.cloned().collect::<Vec<_>>()
    };
    let (one, other) = (of("net_eswitch5"), of("net_eswitch7"));
    let domain = |info: &dpdk::ethdev::PortInfo| info.switch.as_ref().unwrap().domain;
    assert_eq!(one.len(), 16);
    assert!(one.iter().all(|info| domain(info) == domain(&one[0])));
    assert_ne!(domain(&one[0]), domain(&other[0]));

    for info in &one {
        let port = PortId::from_bits(info.switch.as_ref().unwrap().port);
        assert_eq!(info.is_representor, !port.is_uplink(), "{port}");
        let known = representors(&eal(), info.id).unwrap().expect("the driver has ranges");
        assert_eq!((known.controller, known.pf), (0, 0));
        let found = known.find(port.bits().into());
        match port.device().unwrap() {
            nic_flow::port::Device::Vf { vf, .. } => {
                let (range, number) = found.expect("the id lies in a range");
                assert_eq!((range.function, range.pf, number), (Function::Vf, 0, vf.into()));
            }
            _ => assert_eq!(found, None),
        }
    }
}

fn fifteen_functions_and_an_uplink_run_at_once(rig: &mut Rig) {
    let names: Vec<String> = rig.ports.keys().map(PortId::to_string).collect();
    assert_eq!(names.len(), 16);
    for (number, name) in names.iter().enumerate() {
        let frame = plain(&[number as u8; 30]);
        rig.wire(name).send(&frame).unwrap();
        assert_eq!(rig.missed(name, crate::PATIENCE), Some(frame), "{name}");
    }
    for name in &names {
        assert_eq!(rig.missed(name, std::time::Duration::ZERO), None, "{name}");
    }
}

fn a_port_without_representor_is_closed_and_its_drops_are_counted(rig: &mut Rig) {
    assert_eq!(rig.ports.keys().copied().collect::<Vec<_>>(), [id("p0")]);
    rig.wire("pf0vf0").send(&plain(b"nobody listens")).unwrap();
    assert_eq!(rig.missed("p0", SILENCE), None);
    assert_eq!(rig.wire("p0").receive(SILENCE), None);
    // Frames of its own still come.
    rig.wire("p0").send(&plain(b"x")).unwrap();
    assert!(rig.missed("p0", crate::PATIENCE).is_some());
    assert_eq!(rig.port("p0").stats().unwrap().rx_packets, 1);
}
