//! How the E-Switch keeps its rules: counters, and what audits found.

use std::time::Duration;

use nic_policy::{AuditCount, AuditFinding, AuditReport, Discrepancy, RuleStats};
use nic_proto::datapath::v1 as pb;

use super::flow::{match_to, read_match};
use super::learned::nanos;
use super::{Bad, ObjectError, Problem};

fn discrepancy(name: &str) -> Result<Discrepancy, Bad> {
    Discrepancy::from_name(name).ok_or_else(|| Bad::new("discrepancy", Problem::Unknown(name.to_owned())))
}

/// What an audit found.
pub fn audit_to(report: &AuditReport) -> pb::AuditRulesResponse {
    let count = |(kind, count): (&Discrepancy, &AuditCount)| pb::AuditCount {
        discrepancy: kind.name().to_owned(),
        found: count.found,
        repaired: count.repaired,
    };
    let finding = |finding: &AuditFinding| pb::AuditFinding {
        discrepancy: finding.discrepancy.name().to_owned(),
        flow: finding.matches.map(|matches| pb::AuditFlow { r#match: match_to(&matches) }),
        repaired: finding.repaired,
    };
    let counts = Discrepancy::ALL.iter().zip(&report.counts);
    pb::AuditRulesResponse {
        flows: report.flows,
        rules: report.rules,
        counts: counts.filter(|(_, count)| count.found > 0).map(count).collect(),
        findings: report.findings.iter().map(finding).collect(),
        lost_rule_hits: report.lost_rule_hits,
        rules_reinstalled: report.rules_reinstalled,
        last_reinstalled_ns: report.last_reinstalled.map(nanos),
    }
}

/// What an audit found, from its message.
pub fn audit_from(response: &pb::AuditRulesResponse) -> Result<AuditReport, ObjectError> {
    let finding = |finding: &pb::AuditFinding| -> Result<AuditFinding, Bad> {
        Ok(AuditFinding {
            discrepancy: discrepancy(&finding.discrepancy)?,
            matches: finding.flow.as_ref().map(|flow| read_match(&flow.r#match)).transpose()?,
            repaired: finding.repaired,
        })
    };
    let read = || -> Result<AuditReport, Bad> {
        let mut counts = [AuditCount::default(); Discrepancy::COUNT];
        for count in &response.counts {
            let kind = discrepancy(&count.discrepancy)?;
            counts[kind.index()] = AuditCount { found: count.found, repaired: count.repaired };
        }
        Ok(AuditReport {
            flows: response.flows,
            rules: response.rules,
            counts,
            findings: response.findings.iter().map(finding).collect::<Result<_, _>>()?,
            lost_rule_hits: response.lost_rule_hits,
            rules_reinstalled: response.rules_reinstalled,
            last_reinstalled: response.last_reinstalled_ns.map(Duration::from_nanos),
        })
    };
    read().map_err(|bad| bad.in_object("audit"))
}

pub(super) const fn rule_stats_to(stats: &RuleStats) -> pb::RuleStats {
    pb::RuleStats {
        lost_hits: stats.lost_hits,
        reinstalled: stats.reinstalled,
        postponed: stats.postponed,
        destroy_failures: stats.destroy_failures,
        query_failures: stats.query_failures,
        strays_removed: stats.strays_removed,
        waiting: stats.waiting,
        stuck: stats.stuck,
        unreadable: stats.unreadable,
    }
}

pub(super) const fn rule_stats_from(stats: &pb::RuleStats) -> RuleStats {
    RuleStats {
        lost_hits: stats.lost_hits,
        reinstalled: stats.reinstalled,
        postponed: stats.postponed,
        destroy_failures: stats.destroy_failures,
        query_failures: stats.query_failures,
        strays_removed: stats.strays_removed,
        waiting: stats.waiting,
        stuck: stats.stuck,
        unreadable: stats.unreadable,
    }
}
