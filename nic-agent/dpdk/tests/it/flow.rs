use dpdk::flow::{Action, Attr, FlowCall, Item, Masked};
use dpdk::{Port, PortConfig};

use super::{device, pool, shared_eal};

#[test]
fn a_device_without_rte_flow_refuses_every_call_with_a_reason() {
    let pool = pool("no-flow", 63);
    let port = Port::open(&shared_eal(), device("net_ring3")).expect("nobody else opens it");
    let _queues = port.start(&PortConfig::single(&pool)).expect("it starts");
    let pattern = [Item::RepresentedPort(port.id()), Item::Eth(Masked::any())];
    let actions = [Action::Count, Action::Drop];

    let error = port.validate_flow(&Attr::TRANSFER, &pattern, &actions).expect_err("no rte_flow");
    assert_eq!((error.call, error.port), (FlowCall::Validate, port.id()));
    assert!(error.errno.is_unsupported(), "{error}");
    assert!(error.message.is_some(), "{error}");

    let error = port.create_flow(&Attr::TRANSFER, &pattern, &actions).expect_err("no rte_flow");
    assert_eq!(error.call, FlowCall::Create);
    assert!(error.to_string().contains("refused to create"), "{error}");
    assert!(error.errno.is_unsupported(), "{error}");

    assert_eq!(port.flush_flows().expect_err("no rte_flow").call, FlowCall::Flush);
    assert_eq!(port.transfer_proxy().expect_err("no rte_flow").call, FlowCall::TransferProxy);
}
