//! Why a connection is judged as it is, and what would change that: data first, words after.

mod describe;
mod suggest;
mod text;
mod trace;

use std::net::IpAddr;

use serde::Serialize;

use super::{
    Connection, Labels, Outcome, Ruleset, Verdict, model::PolicyId, ruleset::network::normal,
};

/// All that can be said of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `flowmon.explanation.v1`
    pub schema: &'static str,
    /// Both sides together: denied if one of them denies.
    pub outcome: Outcome,
    /// Who opened it.
    pub from: Party,
    /// Who was addressed.
    pub to: IpAddr,
    /// `TCP 443`
    pub port: String,
    /// The initiator's policies' word; none when no policies bind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Said>,
    /// The responder's, alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Said>,
    /// Who answers: one, or everyone who does so for a service.
    pub targets: Vec<Target>,
}

/// A verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    /// What it comes to.
    pub outcome: Outcome,
    /// Label of the reason.
    pub reason: &'static str,
    /// The policy's kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// The policy, as `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The rule of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why, in words; and for an undecided one, what would decide it.
    pub why: &'static str,
}

/// Someone at an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Party {
    /// The address.
    pub address: IpAddr,
    /// `pod`, `node`, `external` or `unknown`.
    pub kind: &'static str,
    /// `namespace/name` of a pod, name of a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A pod's labels.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// One who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Who.
    pub to: Party,
    /// Where it listens: `TCP 8080`.
    pub port: String,
    /// What the initiator's policies make of it; none when no policies bind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Side>,
    /// What the responder's do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Side>,
}

/// One side's policies, and what each makes of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// What they come to.
    pub verdict: Said,
    /// Every policy that is about the pod in this direction, in the order of judgement; those of
    /// baseline only where they are asked.
    pub policies: Vec<Asked>,
    /// What would allow it, when it is denied. All of these together, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suggestions: Vec<Suggestion>,
}

/// A policy that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// Its kind.
    pub kind: &'static str,
    /// `namespace/name`
    pub policy: String,
    /// Where it was declared, as `file:line`.
    pub place: String,
    /// Its rules for this direction.
    pub rules: Vec<Tried>,
}

/// A rule that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// `ingress[0]`, with the peer where one matched.
    pub rule: String,
    /// `Accept`, `Deny` or `Pass`.
    pub action: &'static str,
    /// Does it match?
    pub matches: Matches,
    /// What of it does not, or can't be told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<Clause>,
}

/// Does it match?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Matches {
    /// Yes.
    Yes,
    /// No.
    No,
    /// It can't be said.
    Maybe,
}

/// A part of a rule that does not match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// `from`, `to` or `ports`.
    pub clause: &'static str,
    /// `no` or `maybe`.
    pub matches: Matches,
    /// Label of what makes it a maybe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What the rule asks for: `TCP 6379`.
    pub wants: String,
    /// What it got: `TCP 6380`.
    pub got: String,
}

/// What would allow a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// The rule of this policy that it must stand before; none when it is a policy of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// A whole `NetworkPolicy`, or a rule.
    pub yaml: String,
}

/// A place in a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Before {
    /// The policy's kind.
    pub kind: &'static str,
    /// Its name.
    pub policy: String,
    /// `egress[0]`
    pub rule: String,
}

impl Ruleset {
    /// Why [`Ruleset::judge`] says of a connection what it says.
    pub fn explain(&self, connection: &Connection) -> Explanation {
        let verdicts = self.judge(connection);
        let from = self.end(&connection.initiator);
        let address = normal(connection.initiator.address);
        let targets = self.targets(connection).into_iter();
        Explanation {
            schema: "flowmon.explanation.v1",
            outcome: verdicts.outcome(),
            from: describe::party(from, address),
            to: normal(connection.responder.address),
            port: describe::port(connection.protocol, connection.port),
            egress: verdicts.egress.as_ref().map(Said::new),
            ingress: verdicts.ingress.as_ref().map(Said::new),
            targets: targets
                .map(|target| trace::target(self, connection, target))
                .collect(),
        }
    }
}

impl Said {
    fn new(verdict: &Verdict) -> Self {
        Self {
            outcome: verdict.outcome,
            reason: verdict.reason.label(),
            kind: verdict.policy.as_ref().map(|policy| policy.kind.label()),
            policy: verdict.policy.as_ref().map(PolicyId::to_string),
            rule: verdict.rule.as_deref().map(str::to_owned),
            why: text::why(verdict),
        }
    }
}
