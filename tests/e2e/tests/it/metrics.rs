//! The page of metrics, and a change that is followed through the logs of both processes.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::{Lab, LabError, number};

use crate::bench::{Bench, Outcome, peer, vm1, vm2, wires, with_rules};

/// What the page says: series with their labels as they stand there, and values.
fn page(lab: &Lab) -> Result<BTreeMap<String, f64>, LabError> {
    let text = lab.metrics()?;
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    Ok(samples
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            (series.to_owned(), value.parse().expect("a number"))
        })
        .collect())
}

#[test]
fn the_page_has_the_counters_that_nicctl_shows() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    assert_eq!(lab.udp(vm1(), peer(), 5001, 1, 1000)?.distinct, 1);
    lab.await_hardware("vm1", "")?;
    assert_eq!(lab.udp(vm1(), peer(), 5001, 500, 1000)?.distinct, 500);
    // What no rule takes: the rules of the other VM are gone.
    lab.apply(&with_rules(&[("vm1", "in_port=vm1,actions=output:pf0")]))?;
    lab.send(vm2(), (peer().ipv4(), 5001).into(), 20, 1000)?;
    let stats = lab.settled_stats()?;
    let page = page(&lab)?;
    let mut compared = 0;
    for (device, port) in
        [("p0", "ports/pf0"), ("pf0vf0", "ports/vm1"), ("pf0vf1", "ports/vm2"), ("pf0vf2", "")]
    {
        let of_port = format!("{{device=\"{device}\",port=\"{port}\"}}");
        for (series, counter) in [
            ("nic_port_hardware_packets_total", "hardwarePackets"),
            ("nic_port_hardware_bytes_total", "hardwareBytes"),
            ("nic_slow_path_received_packets_total", "rxPackets"),
            ("nic_slow_path_received_bytes_total", "rxBytes"),
            ("nic_slow_path_sent_packets_total", "txPackets"),
            ("nic_slow_path_sent_bytes_total", "txBytes"),
            ("nic_slow_path_cache_hits_total", "cacheHits"),
            ("nic_slow_path_upcalls_total", "upcalls"),
            ("nic_port_flows", "flows"),
            ("nic_port_rules", "rules"),
        ] {
            let on_page = page.get(&format!("{series}{of_port}")).copied();
            assert_eq!(on_page, Some(stats.port(device, counter) as f64), "{series}{of_port}");
            compared += stats.port(device, counter);
        }
    }
    assert!(compared > 1000, "there was traffic: {compared}");
    let dropped = "nic_drops_total{device=\"pf0vf1\",port=\"ports/vm2\",reason=\"flow_rules.no_match\"}";
    let drops = stats.drops("pf0vf1", "flow_rules.no_match");
    assert!(drops >= 20, "{:#}", stats.0);
    assert_eq!(page.get(dropped), Some(&(drops as f64)));
    let (created, destroyed, refused) = stats.rules();
    let single = [
        ("nic_rules_created_total", created),
        ("nic_rules_destroyed_total", destroyed),
        ("nic_rules_refused_total", refused),
        ("nic_flows", number(&stats.0["cache"]["flows"])),
        ("nic_flows_in_hardware", number(&stats.0["offload"]["flows"])),
        ("nic_store_revision", 2),
        ("nic_datapath_accepted_revision", 2),
        ("nic_datapath_applied_revision", 2),
        ("nic_datapath_up", 1),
        ("nic_datapath_connected", 1),
        ("nic_datapath_restarts_total", 0),
        ("nic_healthy", 1),
        ("nic_alarms{reason=\"datapath.away\",severity=\"critical\"}", 0),
        ("nic_resources{kind=\"ports\"}", 3),
        ("nic_grpc_handled_total{method=\"nic.v1.ConfigService/Apply\",code=\"OK\"}", 4),
    ];
    for (series, expected) in single {
        assert_eq!(page.get(series), Some(&(expected as f64)), "{series}");
    }
    Ok(())
}

#[test]
fn while_the_datapath_is_away_the_page_says_so_and_then_that_it_started_anew() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    lab.datapath().kill();
    let away = page(&lab)?;
    assert_eq!(away.get("nic_datapath_up"), Some(&0.0));
    assert_eq!(away.get("nic_store_revision"), Some(&1.0));
    lab.until("the alarm", Duration::from_secs(10), |lab| {
        let away = page(lab)?;
        let alarm = "nic_alarms{reason=\"datapath.away\",severity=\"critical\"}";
        let seen = (away.get("nic_healthy").copied(), away.get(alarm).copied());
        Ok(if seen == (Some(0.0), Some(1.0)) { Ok(()) } else { Err(format!("{seen:?}")) })
    })?;
    assert!(!away.contains_key("nic_flows"), "{away:?}");
    lab.start_datapath()?;
    lab.await_connected()?;
    lab.until("the datapath's figures", Duration::from_secs(10), |lab| {
        let back = page(lab)?;
        let of = |series: &str| back.get(series).copied();
        let seen =
            (of("nic_datapath_up"), of("nic_datapath_restarts_total"), of("nic_datapath_applied_revision"));
        Ok(if seen == (Some(1.0), Some(1.0), Some(1.0)) { Ok(()) } else { Err(format!("{seen:?}")) })
    })
}

#[test]
fn one_search_over_both_logs_follows_a_change() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    let file = lab.folder().join("followed.yaml");
    std::fs::write(&file, with_rules(&[("vm1", "in_port=vm1,actions=drop")])).expect("the lab's folder");
    let file = file.to_string_lossy().into_owned();
    let change = ["-v", "apply", "-f", &file, "--yes", "--wait", "--request-id", "ticket-4711"];
    let answer = lab.nicctl(&change)?;
    assert_eq!((answer.code, answer.err.as_str()), (0, "request id: ticket-4711\n"));
    // That a revision is applied is told to nic-agent and to the log by two tasks.
    lab.until("the last line", Duration::from_secs(5), |lab| {
        let log = lab.datapath().log();
        let found = log.lines().any(|line| line.contains("policy applied") && line.contains("ticket-4711"));
        Ok(if found { Ok(()) } else { Err(log) })
    })?;
    let agent = lab.agent().log();
    let datapath = lab.datapath().log();
    let line = |log: &str, what: &str| {
        let fits = |line: &&str| line.contains("ticket-4711") && line.contains(what);
        log.lines().find(fits).map(str::to_owned).unwrap_or_else(|| panic!("no {what:?} in:\n{log}"))
    };
    line(&agent, "/nic.v1.ConfigService/Apply");
    for (log, what) in [
        (&agent, "committed"),
        (&agent, "policy sent"),
        (&datapath, "policy in force"),
        (&datapath, "policy applied"),
    ] {
        let line = line(log, what);
        assert!(line.contains("revision=2"), "{line}");
    }
    // The change before came from another call.
    assert!(datapath.lines().any(|line| line.contains("policy applied") && !line.contains("ticket-4711")));
    // An error has the id as well.
    let answer = lab.nicctl(&["get", "ports/missing", "--request-id", "ticket-4712"])?;
    assert!(answer.code == 5 && answer.err.ends_with("\n  request id: ticket-4712\n"), "{answer:?}");
    Ok(())
}
