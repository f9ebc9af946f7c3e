use dpdk::ethdev::{
    InterruptError, OpenError, RxOffloads, StartError, StopError, TxOffloads, discover, representors,
};
use dpdk::{BURST, Burst, DevId, Port, PortConfig, Queues};

use super::mbuf::packet;
use super::{device, pool, shared_eal};

/// Opens a device and starts it with one queue each way.
fn run(name: &str, pool: &dpdk::Mempool) -> (Port, Queues) {
    let port = Port::open(&shared_eal(), device(name)).expect("nobody else opens it");
    let queues = port.start(&PortConfig::single(pool)).expect("one queue each way is possible");
    (port, queues)
}

#[test]
fn discovery_describes_every_device() {
    let ports = discover(&shared_eal()).expect("every device describes itself");
    let ring = ports.iter().find(|port| port.name == "net_ring9").expect("it was asked for");
    assert_eq!(ring.driver, "net_ring");
    assert_eq!(ring.switch, None, "a ring is in no switch");
    assert!(!ring.is_representor);
    assert!(ring.max_rx_queues >= 1 && ring.max_tx_queues >= 1);
    assert_eq!(representors(&shared_eal(), ring.id), Ok(None));
    assert!(representors(&shared_eal(), DevId::from_raw(31)).is_err(), "there is no such port");
}

#[test]
fn a_port_is_opened_once_and_only_if_it_exists() {
    let eal = shared_eal();
    let id = device("net_ring0");
    let port = Port::open(&eal, id).expect("nobody else opens it");
    assert_eq!(Port::open(&eal, id).err(), Some(OpenError::AlreadyOpen(id)));
    let absent = DevId::from_raw(31);
    assert_eq!(Port::open(&eal, absent).err(), Some(OpenError::Absent(absent)));
    let absurd = DevId::from_raw(u16::MAX);
    assert_eq!(Port::open(&eal, absurd).err(), Some(OpenError::Absent(absurd)));
    drop(port);
    assert_eq!(Port::open(&eal, id).err(), Some(OpenError::Absent(id)), "the last handle closes it");
}

#[test]
fn a_full_port_leaves_the_unsent_tail_and_nothing_is_freed_twice() {
    let pool = pool("full-ring", 4095);
    let (port, Queues { mut rx, mut tx }) = run("net_ring1", &pool);
    let (rx, tx) = (&mut rx[0], &mut tx[0]);

    let (mut next, mut sent) = (0_u32, 0);
    let mut burst = Burst::new();
    loop {
        while !burst.is_full() {
            burst.push(packet(&pool, &next.to_be_bytes())).expect("there is room");
            next += 1;
        }
        let count = tx.send(&mut burst);
        sent += count;
        assert_eq!(burst.len(), BURST - count, "what was not sent is still ours");
        if count < BURST {
            break;
        }
    }
    let number = |mbuf: &dpdk::Mbuf| {
        u32::from_be_bytes(mbuf.data().expect("one segment").try_into().expect("four bytes"))
    };
    let tail: Vec<u32> = burst.iter().map(number).collect();
    let expected: Vec<u32> = (sent as u32..next).collect();
    assert_eq!(tail, expected, "the tail is in order, at the front");
    assert_eq!(tx.send(&mut burst), 0, "the ring is full");
    assert_eq!(pool.in_use(), next, "sent and unsent, each once");
    drop(burst);
    assert_eq!(pool.in_use() as usize, sent);

    let mut received = Vec::new();
    let mut burst = Burst::new();
    while rx.receive(&mut burst) > 0 {
        assert!(burst.iter().all(|mbuf| mbuf.rx_port() == port.id() || mbuf.len() == 4));
        received.extend(burst.iter().map(number));
        burst.clear();
    }
    assert_eq!(received, (0..sent as u32).collect::<Vec<_>>());
    assert_eq!(pool.in_use(), 0);
    let stats = port.stats().expect("a ring counts");
    assert_eq!((stats.tx_packets, stats.rx_packets), (sent as u64, sent as u64));
    port.reset_stats().expect("a ring counts");
    assert_eq!(port.stats().expect("a ring counts").tx_packets, 0);
}

#[test]
fn a_loop_of_receive_and_send_returns_every_mbuf() {
    let pool = pool("null-loop", 511);
    let (port, Queues { mut rx, mut tx }) = run("net_null0", &pool);
    let mut burst = Burst::new();
    for _ in 0..1000 {
        assert_eq!(rx[0].receive(&mut burst), BURST, "net_null always has packets");
        assert_eq!(rx[0].receive(&mut burst), 0, "the burst is full");
        assert_eq!(tx[0].prepare(&mut burst), BURST);
        assert_eq!(tx[0].send(&mut burst), BURST);
        assert!(burst.is_empty());
    }
    assert_eq!(port.stats().expect("it counts").rx_packets, 32_000);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn queues_work_on_the_thread_that_holds_them() {
    let pool = pool("null-threads", 511);
    let (port, Queues { mut rx, mut tx }) = run("net_null1", &pool);
    let (mut rx, mut tx) = (rx.remove(0), tx.remove(0));
    let worker = std::thread::spawn(move || {
        let _lcore = shared_eal().register_thread().expect("EAL has lcores left");
        let mut burst = Burst::new();
        (0..100).map(|_| rx.receive(&mut burst).min(tx.send(&mut burst))).sum::<usize>()
    });
    assert_eq!(worker.join().expect("the worker does not panic"), 3200);
    // The worker's queues went with it, so the port may stop.
    assert_eq!(port.stop(), Ok(()));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_port_stops_only_without_queues_and_starts_again() {
    let pool = pool("restart", 127);
    let (port, queues) = run("net_null2", &pool);
    let id = port.id();
    assert_eq!(port.start(&PortConfig::single(&pool)).err(), Some(StartError::Running(id)));
    assert_eq!(port.stop(), Err(StopError::QueuesHeld { port: id, held: 2 }));
    assert!(port.is_running());
    drop(queues.rx);
    assert_eq!(port.stop(), Err(StopError::QueuesHeld { port: id, held: 1 }));
    drop(queues.tx);
    assert_eq!(port.stop(), Ok(()));
    assert_eq!(port.stop(), Err(StopError::NotRunning(id)));

    let mut queues = port.start(&PortConfig::single(&pool)).expect("it starts again");
    let mut burst = Burst::new();
    assert_eq!(queues.rx[0].receive(&mut burst), BURST);
}

#[test]
fn what_a_port_cannot_do_is_refused_by_name() {
    let pool = pool("limits", 63);
    let port = Port::open(&shared_eal(), device("net_ring2")).expect("nobody else opens it");
    let info = port.info().expect("it describes itself");
    let wanted = usize::from(info.max_rx_queues) + 1;
    let config = PortConfig { rx_pools: vec![pool.clone(); wanted], ..PortConfig::single(&pool) };
    let refused = StartError::RxQueues { port: port.id(), wanted, max: info.max_rx_queues };
    assert_eq!(port.start(&config).err(), Some(refused));

    let config = PortConfig { tx_queues: u16::MAX, ..PortConfig::single(&pool) };
    assert!(matches!(port.start(&config), Err(StartError::TxQueues { wanted: u16::MAX, .. })));

    let strip = RxOffloads { vlan_strip: true, ..Default::default() };
    let config = PortConfig { rx_offloads: strip, ..PortConfig::single(&pool) };
    assert!(matches!(port.start(&config), Err(StartError::RxOffloads { .. })));
    assert_eq!(strip.supported_by(info.rx_offloads), RxOffloads::default());

    let insert = TxOffloads { vlan_insert: true, ..Default::default() };
    let config = PortConfig { tx_offloads: insert, ..PortConfig::single(&pool) };
    assert!(matches!(port.start(&config), Err(StartError::TxOffloads { .. })));
    assert_eq!(insert.supported_by(u64::MAX), insert);
    assert!(!port.is_running());
}

#[test]
fn control_calls_work_and_a_device_without_interrupts_says_so() {
    let pool = pool("control", 127);
    let (port, mut queues) = run("net_null3", &pool);
    assert_eq!(port.mac(), Ok(port.info().expect("it describes itself").mac));
    assert!(port.link().expect("a null device has a link").up);
    assert!(port.mtu().expect("it has one") >= 1500);
    port.set_mac([2, 0, 0, 0, 0, 7]).expect("a null device takes any");
    assert_eq!(port.mac(), Ok([2, 0, 0, 0, 0, 7]));
    let refused = port.set_promiscuous(true);
    assert!(refused.is_ok() || refused.is_err_and(|error| error.errno.is_unsupported()));

    let rx = &mut queues.rx[0];
    let unsupported = InterruptError::Unsupported(port.id());
    assert_eq!(rx.interrupt_fd().err(), Some(unsupported));
    assert_eq!(rx.arm_interrupt(), Err(unsupported));
    assert_eq!(rx.disarm_interrupt(), Err(unsupported));
}
