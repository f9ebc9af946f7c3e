//! `system`: the card's own software.

mod progress;
mod send;

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

use nic_proto::v1::system_service_client::SystemServiceClient;
use nic_proto::v1::{
    ActivateRequest, AgentVersion, BundleKind, FactoryResetRequest, GetSlotsRequest, RebootRequest,
    RollbackRequest, RollbackResponse, Slot, SlotState, Slots,
};
use tonic::transport::Channel;

use crate::arguments::{Output, System, SystemCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::output;
use crate::table::{or_dash, printable, table, yes_no};

/// What a reboot means, wherever one is asked for.
const OUTAGE: &str = "traffic stops until the card is up again";
/// Time between two looks while it is waited for.
const POLL: Duration = Duration::from_secs(1);

/// Carries out one command.
pub(crate) async fn run(
    client: &Client,
    System { command }: System,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match command {
        SystemCommand::Install { bundle, activate, reboot, yes } => {
            if reboot {
                confirm(yes, &format!("Install {}, activate it and reboot? {OUTAGE}", bundle.display()))?;
            }
            let installed = send::bundle(client, &bundle).await?;
            output::write(out, output, &installed, |installed| {
                let what = of_kind(installed.kind(), "", "nic-agent ");
                format!("installed {what}{}, {} octets\n", printable(&installed.version), installed.bytes)
            })?;
            if activate { self::activate(client, &installed.version, reboot).await } else { Ok(()) }
        }
        SystemCommand::Activate { version, reboot, yes } => {
            if reboot {
                confirm(yes, &format!("Activate {version} and reboot? {OUTAGE}"))?;
            }
            activate(client, &version, reboot).await
        }
        SystemCommand::Status { wait } => status(client, wait, output, out).await,
        SystemCommand::Rollback { dry_run, reboot, yes } => {
            rollback(client, (dry_run, reboot, yes), output, out).await
        }
        SystemCommand::Reboot { yes } => {
            confirm(yes, &format!("Reboot? {OUTAGE}"))?;
            service(client).reboot(client.request(RebootRequest {})).await?;
            Ok(())
        }
        SystemCommand::FactoryReset { reboot, yes } => {
            confirm(yes, "Forget all configuration at the next start? Nothing is forwarded then")?;
            service(client).factory_reset(client.request(FactoryResetRequest { reboot })).await?;
            Ok(())
        }
    }
}

fn service(client: &Client) -> SystemServiceClient<Channel> {
    SystemServiceClient::new(client.channel())
}

async fn activate(client: &Client, version: &str, reboot: bool) -> Result<(), Failure> {
    let request = ActivateRequest { version: version.to_owned(), reboot };
    service(client).activate(client.request(request)).await?;
    Ok(())
}

async fn rollback(
    client: &Client,
    (dry_run, reboot, yes): (bool, bool, bool),
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut service = service(client);
    let would = RollbackRequest { dry_run: true, reboot: false };
    let would = service.rollback(client.request(would)).await?.into_inner();
    if dry_run {
        return output::write(out, output, &would, |would| meaning(would) + "\n");
    }
    let outage =
        if reboot && would.kind() != BundleKind::AgentAlone { format!("; {OUTAGE}") } else { String::new() };
    confirm(yes, &format!("{}{outage}. Do so?", meaning(&would)))?;
    let done =
        service.rollback(client.request(RollbackRequest { dry_run: false, reboot })).await?.into_inner();
    output::write(out, output, &done, |done| meaning(done) + "\n")
}

/// A word for a whole slot, or for nic-agent alone.
const fn of_kind(kind: BundleKind, slot: &'static str, agent: &'static str) -> &'static str {
    match kind {
        BundleKind::AgentAlone => agent,
        BundleKind::Unspecified | BundleKind::WholeSlot => slot,
    }
}

/// What a rollback means, for people.
fn meaning(back: &RollbackResponse) -> String {
    let next =
        of_kind(back.kind(), "the next boot takes", "nic-agent starts again, and no packet notices, as");
    let mut text = format!("{next} version {}", printable(&back.version));
    if !back.restores_configuration {
        return text + ", and the configuration stays";
    }
    // Writing to a String does not fail.
    let _ = write!(text, ", and the configuration is that of revision {} again", back.restored_revision);
    match back.revision.saturating_sub(back.restored_revision) {
        0 => text + ": nothing is lost",
        1 => text + &format!(": revision {} is lost", back.revision),
        _ => text + &format!(": revisions {} to {} are lost", back.restored_revision + 1, back.revision),
    }
}

async fn status(
    client: &Client,
    wait: Option<Duration>,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        let slots = service(client).get_slots(client.request(GetSlotsRequest {})).await;
        let late = wait.is_none_or(|wait| start.elapsed() >= wait);
        match slots {
            Ok(slots) if late || is_settled(slots.get_ref()) => {
                let slots = slots.into_inner();
                output::write(out, output, &slots, text)?;
                out.flush()?;
                let proven = wait.is_none() || is_settled(&slots);
                return if proven { Ok(()) } else { Err(Failure::Unhealthy) };
            }
            Err(status) if late || status.code() != tonic::Code::Unavailable => return Err(status.into()),
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

/// Whether what runs has proven itself, and boots next.
fn is_settled(slots: &Slots) -> bool {
    let running = slots.slots.iter().find(|slot| slot.running);
    let agent = slots.agents.iter().all(|agent| agent.state() != SlotState::Trial);
    let slot = |slot: &Slot| slot.state() == SlotState::Blessed && slot.version == slots.next_version;
    agent && running.is_some_and(slot)
}

fn text(slots: &Slots) -> String {
    let rows = slots.slots.iter().map(|slot| {
        let next = !slot.version.is_empty() && slot.version == slots.next_version;
        let state = state(slot.state(), "boot", (slot.tries_left, slot.tries_done));
        vec![slot.name.clone(), yes_no(slot.running), or_dash(&slot.version), state, yes_no(next)]
    });
    let mut text = table(&["SLOT", "RUNS", "VERSION", "STATE", "BOOTS NEXT"], rows);
    if slots.agents.len() > 1 {
        let rows = slots.agents.iter().map(agent);
        text += "\n";
        text += &table(&["NIC-AGENT", "RUNS", "VERSION", "STATE"], rows);
    }
    if let Some(install) = &slots.install {
        let percent = u128::from(install.written) * 100 / u128::from(install.total.max(1));
        // Writing to a String does not fail.
        let _ = writeln!(text, "\nversion {} is being installed: {percent} %", printable(&install.version));
    }
    text
}

fn agent(agent: &AgentVersion) -> Vec<String> {
    let of = if agent.own { "of the image" } else { "installed alone" };
    let state = state(agent.state(), "start", (agent.tries_left, agent.tries_done));
    let state = if agent.own { "-".into() } else { state };
    vec![of.into(), yes_no(agent.running), or_dash(&agent.version), state]
}

/// `word` is what a try is: a boot, or a start.
fn state(state: SlotState, word: &str, (left, done): (u32, u32)) -> String {
    match state {
        SlotState::Unspecified => "-".into(),
        SlotState::Installed => "installed, not activated".into(),
        SlotState::Trial if done == 0 => format!("activated, {left} {word}s to prove itself"),
        SlotState::Trial => format!("on trial: {word} {done} of {}", left + done),
        SlotState::Blessed => "proven".into(),
        SlotState::GivenUp if done == 0 => "given up by a rollback".into(),
        SlotState::GivenUp => format!("failed in {done} {word}s"),
    }
}

fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes || !io::stdin().is_terminal() {
        return Ok(());
    }
    if agreed(&mut io::stdin().lock(), &mut io::stderr(), question)? {
        Ok(())
    } else {
        Err(Failure::Declined)
    }
}

/// Asks; anything but yes is no.
fn agreed(input: &mut dyn BufRead, prompt: &mut dyn Write, question: &str) -> io::Result<bool> {
    write!(prompt, "{} [y/N] ", printable(question))?;
    prompt.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_says_what_is_lost() {
        let back = |restores_configuration, restored_revision, revision| RollbackResponse {
            version: "1.2.0".into(),
            restores_configuration,
            restored_revision,
            revision,
            kind: BundleKind::WholeSlot.into(),
        };
        for (back, end) in [
            (back(false, 0, 80), ", and the configuration stays"),
            (back(true, 80, 80), "of revision 80 again: nothing is lost"),
            (back(true, 79, 80), "of revision 79 again: revision 80 is lost"),
            (back(true, 77, 80), "of revision 77 again: revisions 78 to 80 are lost"),
        ] {
            assert!(meaning(&back).ends_with(end), "{}", meaning(&back));
        }
    }

    #[test]
    fn only_yes_is_yes() {
        for (answer, yes) in [("y\n", true), ("Yes\n", true), ("n\n", false), ("", false)] {
            let mut prompt = Vec::new();
            let said = agreed(&mut answer.as_bytes(), &mut prompt, "Reboot?").expect("an answer");
            assert_eq!((said, prompt.as_slice()), (yes, &b"Reboot? [y/N] "[..]), "{answer:?}");
        }
    }
}
