//! Is the card right, and if not, why: what `nicctl status` says when something is missing.

use std::time::Duration;

use e2e::Lab;
use serde_json::Value;

use crate::bench::{Bench, Outcome, wires};

const SOON: Duration = Duration::from_secs(10);
/// What `nicctl status` ends with when the card is not healthy.
const UNHEALTHY: i32 = 10;

/// The alarm of that reason, if it stands.
fn alarm(status: &Value, reason: &str) -> Option<Value> {
    let alarms = status["alarms"].as_array().into_iter().flatten();
    alarms.into_iter().find(|alarm| alarm["reason"] == reason).cloned()
}

/// Waits until the alarms that stand are these.
fn await_alarms(lab: &mut Lab, reasons: &[&str]) -> Result<Value, e2e::LabError> {
    let mut last = Value::Null;
    lab.until(&format!("the alarms {reasons:?}"), SOON, |lab| {
        last = lab.json(&["status"])?;
        let alarms = last["alarms"].as_array().cloned().unwrap_or_default();
        let stand: Vec<_> = alarms.iter().filter_map(|alarm| alarm["reason"].as_str()).collect();
        Ok(if stand == reasons { Ok(()) } else { Err(format!("{last:#}")) })
    })?;
    Ok(last)
}

/// Lines of a log about an alarm: how often it was raised and how often cleared.
fn history(log: &str, reason: &str) -> (usize, usize) {
    let named = |what: &str| {
        log.lines().filter(|line| line.contains(what) && line.contains(&format!("reason={reason}"))).count()
    };
    (named("alarm raised"), named("alarm cleared"))
}

#[test]
fn a_card_that_is_right_says_so_on_its_first_line() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    let status = await_alarms(&mut lab, &[])?;
    assert_eq!(status["healthy"], true, "{status:#}");
    let text = lab.show(&["status"])?;
    assert_eq!(text.lines().next(), Some("healthy"), "{text}");
    assert!(text.contains("\nFlows "), "{text}");
    Ok(())
}

#[test]
fn a_datapath_that_is_gone_is_an_alarm_until_it_is_back() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    await_alarms(&mut lab, &[])?;
    lab.datapath().kill();
    let status = await_alarms(&mut lab, &["datapath.away"])?;
    let away = alarm(&status, "datapath.away").expect("it stands");
    assert_eq!(
        (away["severity"].as_str(), status["healthy"].as_bool()),
        (Some("CRITICAL"), None),
        "{status:#}"
    );
    let answer = lab.nicctl(&["status"])?;
    assert_eq!(answer.code, UNHEALTHY, "{answer:?}");
    assert!(answer.out.starts_with("NOT healthy: 1 alarm\ncritical  datapath.away, for "), "{answer:?}");
    let text = away["text"].as_str().expect("a text");
    assert!(!text.is_empty() && answer.out.contains(text), "{answer:?}");
    assert!(answer.out.contains("docs/ops/alarms.md#datapathaway\n"), "{answer:?}");
    // It is as old as the loss, not as the question.
    std::thread::sleep(Duration::from_millis(1500));
    let again = alarm(&lab.json(&["status"])?, "datapath.away").expect("it stands");
    assert_eq!(again["since"], away["since"]);

    lab.start_datapath()?;
    lab.await_connected()?;
    let status = await_alarms(&mut lab, &[])?;
    assert_eq!(status["healthy"], true, "{status:#}");
    assert_eq!(lab.nicctl(&["status"])?.code, 0);
    assert_eq!(history(&lab.agent().log(), "datapath.away"), (1, 1), "{}", lab.agent().log());
    Ok(())
}

#[test]
fn an_agent_that_was_away_is_in_the_datapaths_history_and_not_among_its_alarms() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    await_alarms(&mut lab, &[])?;
    let before = history(&lab.datapath().log(), "agent.away");
    assert_eq!(before.0, before.1, "it came, and was not missed since");
    lab.agent().kill();
    lab.until("the datapath's notice", SOON, |lab| {
        let now = history(&lab.datapath().log(), "agent.away");
        Ok(if now == (before.0 + 1, before.1) { Ok(()) } else { Err(format!("{now:?}, {before:?} before")) })
    })?;
    lab.start_agent()?;
    lab.await_connected()?;
    let status = await_alarms(&mut lab, &[])?;
    assert_eq!(status["healthy"], true, "{status:#}");
    assert_eq!(history(&lab.datapath().log(), "agent.away"), (before.0 + 1, before.1 + 1));
    // No policy was lost meanwhile, and nothing else was wrong.
    assert_eq!(history(&lab.agent().log(), "datapath.away"), (0, 0), "{}", lab.agent().log());
    Ok(())
}

#[test]
fn a_port_without_a_device_is_an_alarm_with_its_name_until_it_is_deleted() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    await_alarms(&mut lab, &[])?;
    let vm9 = "apiVersion: nic.v1\nkind: Port\nname: vm9\nspec: {device: pf0vf9}\n";
    let file = lab.folder().join("vm9.yaml");
    std::fs::write(&file, vm9).expect("the lab's folder");
    let answer = lab.nicctl(&["apply", "-f", &file.to_string_lossy(), "--apply-set", "later", "--yes"])?;
    assert_eq!(answer.code, 0, "{answer:?}");
    let status = await_alarms(&mut lab, &["device.absent"])?;
    let absent = alarm(&status, "device.absent").expect("it stands");
    assert_eq!(
        (absent["object"].as_str(), absent["severity"].as_str()),
        (Some("ports/vm9"), Some("WARNING"))
    );
    let answer = lab.nicctl(&["status"])?;
    assert_eq!(answer.code, UNHEALTHY, "{answer:?}");
    assert!(answer.out.contains("warning   device.absent of ports/vm9, for "), "{answer:?}");
    let answer = lab.nicctl(&["delete", "ports/vm9"])?;
    assert_eq!(answer.code, 0, "{answer:?}");
    await_alarms(&mut lab, &[])?;
    Ok(())
}
