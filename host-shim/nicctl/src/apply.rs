//! `apply`: the plan of a dry run, a question, the change.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal, Write};

use nic_proto::v1::change::Action;
use nic_proto::v1::config_service_client::ConfigServiceClient;
use nic_proto::v1::{ApplyCommit, ApplyHeader, ApplyRequest, ApplyResponse, Change, apply_request::Message};

use crate::arguments::{self, Apply, Output};
use crate::client::{Client, request_id};
use crate::failure::Failure;
use crate::files::{self, Entry};
use crate::output;
use crate::table::printable;

/// Reads the files, shows what would change, and changes it.
pub(crate) async fn run(
    client: &Client,
    command: Apply,
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let entries = files::read(&command.files)?;
    let set = Set { name: command.apply_set, take_over: command.take_over };
    make_so(client, &set, &command.change, &entries, output, out).await
}

/// The apply set that resources are put into.
pub(crate) struct Set {
    pub(crate) name: String,
    /// Resources of other sets are taken into this one.
    pub(crate) take_over: bool,
}

/// Shows what would change, and changes it.
pub(crate) async fn make_so(
    client: &Client,
    set: &Set,
    how: &arguments::Change,
    entries: &[Entry],
    output: Output,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let plan = send(client, set, how.prune, entries, true).await?;
    if how.dry_run {
        return output::write(out, output, &plan, |plan| plan_text(&set.name, &plan.changes));
    }
    let response = if changes(&plan) == 0 {
        output::write(out, output, &plan, |plan| {
            format!("Nothing to do: {} resources are so at revision {}\n", plan.changes.len(), plan.revision)
        })?;
        plan
    } else {
        let ask = !how.yes && io::stdin().is_terminal();
        let text = plan_text(&set.name, &plan.changes);
        if output == Output::Table {
            out.write_all(text.as_bytes())?;
            out.flush()?;
        } else if ask {
            // Whoever is asked must see the plan; whoever reads the output wants the result alone.
            io::stderr().write_all(text.as_bytes())?;
        }
        if ask && !confirmed(&mut io::stdin().lock(), &mut io::stderr(), changes(&plan))? {
            return Err(Failure::Declined);
        }
        let response = send(client, set, how.prune, entries, false).await?;
        output::write(out, output, &response, |response| done_text(&plan, response))?;
        response
    };
    match how.wait {
        Some(limit) => client.wait_applied(response.revision, limit).await,
        None => Ok(()),
    }
}

async fn send(
    client: &Client,
    set: &Set,
    prune: bool,
    entries: &[Entry],
    dry_run: bool,
) -> Result<ApplyResponse, Failure> {
    let header = ApplyHeader {
        apply_set: set.name.clone(),
        prune,
        dry_run,
        request_id: request_id(),
        take_over: set.take_over,
    };
    let mut messages = vec![Message::Header(header)];
    messages.extend(entries.iter().map(|entry| Message::Resource(entry.resource.clone())));
    messages.push(Message::Commit(ApplyCommit {}));
    let requests = messages.into_iter().map(|message| ApplyRequest { message: Some(message) });
    let request = client.request(tokio_stream::iter(requests));
    let response = ConfigServiceClient::new(client.channel()).apply(request).await;
    response.map(tonic::Response::into_inner).map_err(|status| Failure::call(&status, entries))
}

fn changes(response: &ApplyResponse) -> usize {
    response.changes.iter().filter(|change| change.action() != Action::Unchanged).count()
}

/// Asks; anything but yes is no.
fn confirmed(input: &mut dyn BufRead, prompt: &mut dyn Write, changes: usize) -> Result<bool, Failure> {
    let noun = if changes == 1 { "change" } else { "changes" };
    write!(prompt, "Make {changes} {noun}? [y/N] ")?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn plan_text(apply_set: &str, changes: &[Change]) -> String {
    let mut text = format!("Plan for apply set {apply_set}:\n");
    let mut unchanged = 0;
    for change in changes {
        let (sign, verb) = match change.action() {
            Action::Create => ('+', "create"),
            Action::Update => ('~', "update"),
            Action::Delete => ('-', "delete"),
            Action::Unchanged | Action::Unspecified => {
                unchanged += 1;
                continue;
            }
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {sign} {verb} {}", printable(&change.name));
        if change.action() == Action::Update {
            for field in &change.diff {
                let value = |value: &str| if value.is_empty() { "(unset)".into() } else { printable(value) };
                let (path, before, after) =
                    (printable(&field.path), value(&field.before), value(&field.after));
                let _ = writeln!(text, "      {path}: {before} -> {after}");
            }
        }
    }
    if unchanged > 0 {
        let _ = writeln!(text, "    {unchanged} unchanged");
    }
    text
}

fn done_text(plan: &ApplyResponse, done: &ApplyResponse) -> String {
    let count = |action| done.changes.iter().filter(|change| change.action() == action).count();
    let mut text = format!(
        "Revision {}: {} created, {} updated, {} deleted, {} unchanged\n",
        done.revision,
        count(Action::Create),
        count(Action::Update),
        count(Action::Delete),
        count(Action::Unchanged),
    );
    if plan.changes != done.changes {
        text.push_str("Somebody changed the card since the plan was made; the figures are what was done.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use nic_proto::v1::FieldChange;

    use super::*;

    fn change(name: &str, action: Action, diff: Vec<FieldChange>) -> Change {
        Change { name: name.into(), action: action.into(), diff }
    }

    #[test]
    fn a_plan_shows_what_changes_and_counts_what_does_not() {
        let field = |path: &str, before: &str, after: &str| FieldChange {
            path: path.into(),
            before: before.into(),
            after: after.into(),
        };
        let changes = [
            change("ports/pf0", Action::Create, vec![field("spec.device", "", "\"p0\"")]),
            change("ports/vm1", Action::Update, vec![field("spec.mtu", "1500", "")]),
            change("ports/vm2", Action::Unchanged, vec![]),
            change("flowRules/old", Action::Delete, vec![]),
        ];
        let expected = "\
Plan for apply set lab:
  + create ports/pf0
  ~ update ports/vm1
      spec.mtu: 1500 -> (unset)
  - delete flowRules/old
    1 unchanged
";
        assert_eq!(plan_text("lab", &changes), expected);
    }

    #[test]
    fn only_yes_is_yes() {
        for (answer, yes) in
            [("y\n", true), ("YES\n", true), ("n\n", false), ("\n", false), ("", false), ("yo\n", false)]
        {
            let mut prompt = Vec::new();
            let said = confirmed(&mut answer.as_bytes(), &mut prompt, 1).expect("an answer");
            assert_eq!((said, prompt.as_slice()), (yes, &b"Make 1 change? [y/N] "[..]), "{answer:?}");
        }
    }
}
