//! Explanations in words.

use std::fmt::{self, Display, Formatter};

use super::{Asked, Clause, Explanation, Matches, Said, Side, Suggestion, Target, Tried};
use crate::policy::{Outcome, Reason, Verdict};

/// Why, in a sentence; and for what is undecided, what would decide it.
pub(super) const fn why(verdict: &Verdict) -> &'static str {
    match verdict.reason {
        Reason::RuleMatched => match verdict.outcome {
            Outcome::Allowed => "a rule accepts it",
            Outcome::Denied => "a rule denies it",
            Outcome::Undecided => "a rule may match",
        },
        Reason::NoRuleMatched => "policies isolate the pod, and none of their rules matches",
        Reason::NotIsolated => "no policy forbids it",
        Reason::NoPolicies => "there are no policies",
        Reason::Itself => "a pod always reaches itself",
        Reason::OwnNode if matches!(verdict.outcome, Outcome::Undecided) => {
            "it goes to the pod's own node, and implementations differ on that; what yours does is a \
             setting"
        }
        Reason::OwnNode => "a pod and its own node always reach each other",
        Reason::UndefinedProtocol => {
            "the pod is isolated, and what that means for other protocols than TCP, UDP and SCTP is \
             not defined: nothing in a policy would decide it"
        }
        Reason::ServiceAddress => {
            "it goes to a service: an inventory with its endpoints or the pods it selects would tell \
             who answers; where rules go by addresses, whether the service's or the pod's counts is \
             not defined"
        }
        Reason::BackendsDiffer => {
            "not all who answer for the service get the same verdict: ask about one of them"
        }
        Reason::EqualPriorities => {
            "policies of the same priority differ, and which comes first is not defined: give them \
             different priorities"
        }
        Reason::DomainNames => {
            "a rule goes by domain names, and which addresses these have is not known"
        }
        Reason::UnknownPort => "a rule names ports, and the flow's is not known",
        Reason::UnknownPod => {
            "the inventory has no such pod: a newer one, of all namespaces, would tell its labels"
        }
        Reason::UnknownNamespace => {
            "the inventory does not have the namespace's labels: add `kubectl get namespaces -o yaml`"
        }
        Reason::UnknownNode => {
            "the inventory does not have the node: add `kubectl get nodes -o yaml`"
        }
        Reason::AmbiguousAddress => {
            "more than one pod has the address: a newer inventory would tell whose it is"
        }
        Reason::UnknownDirection => "who opened the connection is not known",
        Reason::UnknownEndpoint => "which pod the connection was seen at is not known",
        Reason::OtherDestination => {
            "it was for an address that is not the pod's: multicast, broadcast, or a bridge that gives all ports what it knows no port of"
        }
        Reason::UnknownPolicies => "the policies are not known yet",
    }
}

const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allowed => "allowed",
        Outcome::Denied => "denied",
        Outcome::Undecided => "undecided",
    }
}

impl Display for Explanation {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let (from, port) = (self.from.words(), &self.port);
        writeln!(
            out,
            "{}: {from} -> {}, {port}",
            outcome(self.outcome),
            self.to
        )?;
        let is_service = self
            .targets
            .iter()
            .any(|target| target.to.address != self.to);
        if is_service {
            for (direction, said) in [("egress", &self.egress), ("ingress", &self.ingress)] {
                if let Some(said) = said {
                    writeln!(out, "  {direction}: {said}")?;
                }
            }
        }
        self.targets.iter().try_for_each(|target| target.fmt(out))
    }
}

impl Display for Target {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n{}, {}", self.to.words(), self.port)?;
        for (direction, side) in [("egress", &self.egress), ("ingress", &self.ingress)] {
            match side {
                Some(side) => write!(out, "  {direction}: {side}")?,
                None => writeln!(out, "  {direction}: no policies bind this end")?,
            }
        }
        Ok(())
    }
}

impl Display for Said {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", outcome(self.outcome), self.reason)?;
        if let (Some(kind), Some(policy)) = (self.kind, &self.policy) {
            write!(out, " by {kind} {policy}")?;
            if let Some(rule) = &self.rule {
                write!(out, " {rule}")?;
            }
        }
        write!(out, ": {}", self.why)
    }
}

impl Display for Side {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.verdict)?;
        self.policies.iter().try_for_each(|asked| asked.fmt(out))?;
        self.suggestions
            .iter()
            .try_for_each(|suggestion| suggestion.fmt(out))
    }
}

impl Display for Asked {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "    {} {} ({})", self.kind, self.policy, self.place)?;
        if self.rules.is_empty() {
            writeln!(
                out,
                "      no rules in this direction: nothing is let through by it"
            )?;
        }
        self.rules.iter().try_for_each(|tried| tried.fmt(out))
    }
}

impl Display for Tried {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let does = match self.matches {
            Matches::Yes => "matches",
            Matches::No => "does not match",
            Matches::Maybe => "may match",
        };
        write!(out, "      {} ({}) {does}", self.rule, self.action)?;
        for (number, clause) in self.clauses.iter().enumerate() {
            write!(out, "{} {clause}", if number == 0 { ":" } else { ";" })?;
        }
        writeln!(out)
    }
}

impl Display for Clause {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            clause, wants, got, ..
        } = self;
        match self.reason {
            None => write!(
                out,
                "{clause}: {wants} only, the flow is {}{got}",
                self.preposition()
            ),
            Some(reason) => write!(
                out,
                "{clause}: {wants}; of {got} it can't be said ({reason})"
            ),
        }
    }
}

impl Clause {
    fn preposition(&self) -> &'static str {
        match self.clause {
            "from" => "from ",
            "to" => "to ",
            _ => "",
        }
    }
}

impl Display for Suggestion {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match &self.before {
            None => writeln!(out, "    This policy would allow it:")?,
            Some(before) => writeln!(
                out,
                "    This rule would allow it, before {} of {} {}:",
                before.rule, before.kind, before.policy
            )?,
        }
        self.yaml
            .lines()
            .try_for_each(|line| writeln!(out, "      {line}"))
    }
}
