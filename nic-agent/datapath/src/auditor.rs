//! Audits: what the worker believes of its rules, held against what the offload thread holds.
//!
//! [`nic_slowpath::Audit`] compares; here is the order in which the two threads are asked, that the card
//! is asked in small steps between which both go on with their work, and that whatever is put right is
//! looked at once more.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use nic_flow::{Match, RuleId};
use nic_policy::{AuditCount, AuditFinding, AuditReport, Discrepancy};
use nic_slowpath::{Audit, Finding, InstallerCounters, Inventory, Remedy};
use tokio::sync::{Mutex, watch};

use crate::{offloader, worker};

/// Flow slots that the worker looks at between two rounds.
const SLOTS_A_STEP: u32 = 1024;
/// Counters that the card is asked for between two polls of the installer.
const CALLS_A_STEP: u32 = 64;
/// Rules that are put right between two rounds.
const REPAIRS_A_STEP: usize = 64;
/// Findings that are told with their flows; the others are counted.
const FINDINGS: usize = 64;
/// What was put right is looked at so often, and then told as it is.
const LOOKS: u32 = 20;
/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// What audits found since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Audited {
    /// How many audits there were.
    pub(crate) audits: u64,
    /// What the last one found, by [`Discrepancy::index`].
    pub(crate) last: [AuditCount; Discrepancy::COUNT],
    /// What all of them put right, by [`Discrepancy::index`].
    pub(crate) repaired: [u64; Discrepancy::COUNT],
}

/// Audits one card.
pub(crate) struct Auditor {
    worker: worker::Commands,
    offloader: offloader::Commands,
    /// What the installer counted.
    counted: watch::Receiver<InstallerCounters>,
    /// Audits come one after the other: one would see what the other is about to put right.
    audited: Mutex<()>,
    found: watch::Sender<Audited>,
}

/// One comparison.
struct Compared {
    flows: u64,
    rules: u64,
    findings: Vec<Finding>,
}

impl Auditor {
    pub(crate) fn new(
        worker: worker::Commands,
        offloader: offloader::Commands,
        counted: watch::Receiver<InstallerCounters>,
    ) -> Auditor {
        let found = watch::Sender::new(Audited::default());
        Auditor { worker, offloader, counted, audited: Mutex::new(()), found }
    }

    /// What the installer counted.
    pub(crate) fn counted(&self) -> InstallerCounters {
        *self.counted.borrow()
    }

    /// What audits found so far.
    pub(crate) fn found(&self) -> Audited {
        *self.found.borrow()
    }

    /// Audits, and puts right what can be if that is asked for. `None` if a thread is gone.
    pub(crate) async fn audit(&self, repair: bool) -> Option<AuditReport> {
        let _alone = self.audited.lock().await;
        let Compared { flows, rules, findings } = self.compare_twice(true).await?;
        let matches = self.matches(&findings).await?;
        let left = if repair {
            self.repair(&findings).await?
        } else {
            findings.iter().map(|finding| (finding.id, finding.discrepancy)).collect()
        };
        let mut report = AuditReport { flows, rules, ..AuditReport::default() };
        for finding in &findings {
            let repaired = !left.contains(&(finding.id, finding.discrepancy));
            let count = &mut report.counts[finding.discrepancy.index()];
            count.found += 1;
            count.repaired += u64::from(repaired);
            if report.findings.len() < FINDINGS {
                let matches = matches.get(&finding.id).copied();
                let discrepancy = finding.discrepancy;
                report.findings.push(AuditFinding { discrepancy, matches, repaired });
            }
        }
        self.tell(&report);
        let (now, counters) = self.worker.call(|worker, now| (now, worker.counters())).await?;
        report.lost_rule_hits = counters.lost_rule_hits;
        report.rules_reinstalled = counters.reinstalled;
        report.last_reinstalled = counters.last_reinstalled.map(|at| now.saturating_sub(at));
        Some(report)
    }

    fn tell(&self, report: &AuditReport) {
        self.found.send_modify(|found| {
            found.audits += 1;
            found.last = report.counts;
            for (sum, count) in found.repaired.iter_mut().zip(&report.counts) {
                *sum += count.repaired;
            }
        });
        for (kind, count) in Discrepancy::ALL.iter().zip(&report.counts).filter(|(_, count)| count.found > 0)
        {
            tracing::warn!(found = count.found, repaired = count.repaired, %kind, "{}", kind.describe());
        }
    }

    /// What differs in two comparisons, one behind the other. Every answer that was on its way in the first
    /// has come by the second, so that nobody has to wait between them.
    async fn compare_twice(&self, counters: bool) -> Option<Compared> {
        let mut audit = Audit::new();
        self.compare(&mut audit, counters).await?;
        self.compare(&mut audit, counters).await
    }

    /// Compares; the card is asked for counters, or not.
    async fn compare(&self, audit: &mut Audit, counters: bool) -> Option<Compared> {
        let (mut beliefs, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            let (some, more) = self
                .worker
                .call(move |worker, _| {
                    let mut some = Vec::new();
                    let more = worker.beliefs_from(from, SLOTS_A_STEP, |belief| some.push(belief));
                    (some, more)
                })
                .await?;
            beliefs.extend(some);
            next = more;
        }
        let mut inventory = self.offloader.call(|installer, _| installer.inventory()).await?;
        let mut more = counters;
        while more {
            let step = |mut inventory: Inventory| {
                self.offloader.call(move |installer, mut complete| {
                    let more = installer.query(&mut inventory, CALLS_A_STEP, &mut complete);
                    (inventory, more)
                })
            };
            (inventory, more) = step(inventory).await?;
        }
        let findings = audit.compare(&beliefs, &inventory);
        let flows = beliefs.iter().filter(|belief| belief.has_rule()).count() as u64;
        Some(Compared { flows, rules: inventory.holdings().len() as u64, findings })
    }

    /// The flows of the first findings.
    async fn matches(&self, findings: &[Finding]) -> Option<HashMap<RuleId, Match>> {
        let ids: Vec<RuleId> = findings.iter().take(FINDINGS).map(|finding| finding.id).collect();
        let matches = move |id: RuleId, worker: &nic_slowpath::Worker<crate::io::Io>| {
            worker.matches_of(id).map(|matches| (id, matches))
        };
        self.worker.call(move |worker, _| ids.iter().filter_map(|&id| matches(id, worker)).collect()).await
    }

    /// Puts right what can be, and returns what differs all the same.
    async fn repair(&self, findings: &[Finding]) -> Option<HashSet<(RuleId, Discrepancy)>> {
        for some in findings.chunks(REPAIRS_A_STEP) {
            let of =
                |remedy| some.iter().copied().filter(|one| one.remedy == remedy).collect::<Vec<Finding>>();
            let of_worker = of(Remedy::Worker);
            let repair = self.worker.call(move |worker, now| {
                // What changed meanwhile is not as it was found, and is left to the looks below.
                of_worker.iter().filter(|one| worker.repair(one, now)).count()
            });
            repair.await?;
            let of_installer = of(Remedy::Installer);
            let repair = self.offloader.call(move |installer, mut complete| {
                of_installer.iter().filter(|one| installer.repair(one, &mut complete)).count()
            });
            repair.await?;
        }
        let mut left: HashSet<_> = findings.iter().map(|finding| (finding.id, finding.discrepancy)).collect();
        let repairable =
            |left: &HashSet<(RuleId, Discrepancy)>| left.iter().any(|(_, kind)| kind.is_repairable());
        for _ in 0..LOOKS {
            if !repairable(&left) {
                break;
            }
            let differs = self.compare_twice(false).await?.findings;
            let differs: HashSet<_> =
                differs.iter().map(|finding| (finding.id, finding.discrepancy)).collect();
            left.retain(|one| !one.1.is_repairable() || differs.contains(one));
            tokio::time::sleep(PAUSE).await;
        }
        Some(left)
    }
}
