//! Rules that come too late, that are said twice, or whose order is not defined.

use std::collections::HashMap;

use super::{Population, Remarks, cover};
use crate::policy::{
    Place, PolicySet,
    model::{Kind, Policy, Rule, Tier},
};

/// Within one policy.
pub(super) fn check_rules(policy: &Policy, remarks: &mut Remarks) {
    let ordered = policy.tier != Tier::NetworkPolicy;
    for rules in [&policy.ingress, &policy.egress].into_iter().flatten() {
        for (at, rule) in rules.iter().enumerate() {
            let mut earlier = rules.iter().take(at);
            if let Some(first) = earlier.find(|first| cover::rule(first, rule)) {
                covered(rule, &first.place, ordered, remarks);
                continue;
            }
            // Where order does not matter, a later rule makes an earlier one superfluous too.
            let mut later = rules.iter().skip(at + 1);
            if !ordered
                && let Some(second) =
                    later.find(|it| cover::rule(it, rule) && !cover::rule(rule, it))
            {
                covered(rule, &second.place, ordered, remarks);
            }
        }
    }
}

fn covered(rule: &Rule, by: &Place, ordered: bool, remarks: &mut Remarks) {
    let path = by.path.strip_prefix("spec.").unwrap_or(&by.path);
    if ordered {
        let says = format!("it never decides: {path} before it matches all that it does");
        remarks.warn(&rule.place, "shadowed-rule", says);
    } else {
        let says = format!("it adds nothing: {path} allows all that it does");
        remarks.note(&rule.place, "superfluous-rule", says);
    }
}

/// Among policies.
pub(super) fn check_policies(
    set: &PolicySet,
    population: Option<&Population<'_>>,
    remarks: &mut Remarks,
) {
    let policies: Vec<&Policy> = set.policies.iter().map(|policy| &**policy).collect();
    twins(&policies, remarks);
    generations(&policies, remarks);
    let mut ordered: Vec<&Policy> = policies
        .into_iter()
        .filter(|policy| policy.tier != Tier::NetworkPolicy)
        .collect();
    ordered.sort_by_key(|policy| policy.tier);
    for (at, policy) in ordered.iter().enumerate() {
        for earlier in ordered.iter().take(at) {
            if earlier.tier == policy.tier {
                same_priority(earlier, policy, population, remarks);
            } else if is_same_tier(earlier.tier, policy.tier) {
                shadowed_by(earlier, policy, remarks);
            }
        }
    }
}

/// Network policies of one namespace that say the same.
fn twins(policies: &[&Policy], remarks: &mut Remarks) {
    let mut by_namespace: HashMap<_, Vec<&Policy>> = HashMap::new();
    for policy in policies
        .iter()
        .filter(|policy| policy.tier == Tier::NetworkPolicy)
    {
        let before = by_namespace.entry(&policy.id.namespace).or_default();
        if let Some(twin) = before.iter().find(|twin| say_the_same(twin, policy)) {
            let says = format!("it says the same as {} at {}", twin.id, twin.place);
            remarks.note(&policy.place, "same-as-another", says);
        }
        before.push(policy);
    }
}

fn say_the_same(one: &Policy, other: &Policy) -> bool {
    let rules = |one: &Option<Vec<Rule>>, other: &Option<Vec<Rule>>| match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            let both = |(one, other)| cover::rule(one, other) && cover::rule(other, one);
            one.len() == other.len() && one.iter().zip(other).all(both)
        }
        _ => false,
    };
    one.subject == other.subject
        && rules(&one.ingress, &other.ingress)
        && rules(&one.egress, &other.egress)
}

fn generations(policies: &[&Policy], remarks: &mut Remarks) {
    let of = |kind: fn(Kind) -> bool| policies.iter().find(|policy| kind(policy.id.kind));
    let cluster = of(|kind| kind == Kind::ClusterNetworkPolicy);
    let admin = of(|kind| {
        matches!(
            kind,
            Kind::AdminNetworkPolicy | Kind::BaselineAdminNetworkPolicy
        )
    });
    if let (Some(cluster), Some(admin)) = (cluster, admin) {
        let says = format!(
            "there are policies of v1alpha1 too, like {} at {}: how both work together is not \
             specified",
            admin.id.kind.label(),
            admin.place
        );
        remarks.warn(&cluster.place, "mixed-generations", says);
    }
}

const fn is_same_tier(one: Tier, other: Tier) -> bool {
    matches!(
        (one, other),
        (Tier::Admin { .. }, Tier::Admin { .. }) | (Tier::Baseline { .. }, Tier::Baseline { .. })
    )
}

fn same_priority(
    first: &Policy,
    second: &Policy,
    population: Option<&Population<'_>>,
    remarks: &mut Remarks,
) {
    // Two policies of v1alpha1 and v1alpha2 in the baseline are no choice of the writer's.
    if first.id.kind != second.id.kind {
        return;
    }
    let both_say = |direction: fn(&Policy) -> &Option<Vec<Rule>>| {
        direction(first).is_some() && direction(second).is_some()
    };
    if !both_say(|it| &it.ingress) && !both_say(|it| &it.egress) {
        return;
    }
    if cover::are_apart(&first.subject, &second.subject) {
        return;
    }
    let meet = population.is_none_or(|population| {
        let subject = &second.subject;
        !population.knows(&subject.namespaces)
            || population.of(&first.subject).any(|group| {
                let mut others = population.of(subject);
                others.any(|other| std::ptr::eq(other, group))
            })
    });
    if meet {
        let says = format!(
            "it has the same priority as {} at {}: where rules of both match, either may count",
            first.id, first.place
        );
        remarks.warn(&second.place, "same-priority", says);
    }
}

/// Rules that never decide because of a policy of higher precedence.
fn shadowed_by(first: &Policy, second: &Policy, remarks: &mut Remarks) {
    if !cover::subject(&first.subject, &second.subject) {
        return;
    }
    for (firsts, seconds) in [
        (&first.ingress, &second.ingress),
        (&first.egress, &second.egress),
    ] {
        for rule in seconds.iter().flatten() {
            if let Some(by) = firsts.iter().flatten().find(|by| cover::rule(by, rule)) {
                let says = format!(
                    "it never decides: {} of {}, at {}, comes first and matches all that it does",
                    by.place
                        .path
                        .strip_prefix("spec.")
                        .unwrap_or(&by.place.path),
                    first.id,
                    by.place
                );
                remarks.warn(&rule.place, "shadowed-rule", says);
            }
        }
    }
}
