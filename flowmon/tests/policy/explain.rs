//! Explanations say what failed, and what they suggest works.

use std::sync::Arc;

use flowmon::policy::{
    Explanation, Outcome, Policy, PolicySet, Ruleset, document,
    explain::{Before, Matches, Suggestion},
    model::Kind,
};

use super::{
    random::{self, Dice},
    world::{World, cnp, np, v1alpha1},
};

const CLUSTER: &str = "
    namespace shop team=red
    namespace web team=blue
    node node1 172.16.0.1 -
    node node2 172.16.0.2 -
    pod shop/cart 10.0.0.1 app=cart,pod-template-hash=5c689d88bb
    pod shop/redis 10.0.0.2 app=redis,tier=back 6379/tcp/redis
    pod web/front 10.0.1.1 app=cart
    service shop/redis 10.96.0.1 app=redis 6379/tcp=6379";

fn explain(world: &World, question: &str) -> Explanation {
    let ruleset = Ruleset::compile(&world.policies, &world.inventory, world.settings);
    ruleset.explain(&world.connection(question))
}

fn redis() -> World {
    let spec = "{podSelector: {matchLabels: {app: redis}}, ingress: [{from: [{podSelector: \
                {matchLabels: {app: cart}}}], ports: [{port: 6379}]}]}";
    World::new(CLUSTER, &[np("shop/redis-ingress", spec)])
}

#[test]
fn a_denied_flow_is_told_which_clause_failed() {
    let ports = explain(&redis(), "shop/cart > shop/redis 6380/tcp");
    assert_eq!(ports.outcome, Outcome::Denied);
    let side = ports.targets[0].ingress.as_ref().unwrap();
    assert_eq!(side.policies[0].policy, "shop/redis-ingress");
    assert_eq!(side.policies[0].rules[0].matches, Matches::No);
    let clauses = |side: &flowmon::policy::explain::Side| -> Vec<String> {
        side.policies[0].rules[0]
            .clauses
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(
        clauses(side),
        ["ports: TCP 6379 only, the flow is TCP 6380"]
    );
    let both = explain(&redis(), "web/front > shop/redis 6380/tcp");
    let side = both.targets[0].ingress.as_ref().unwrap();
    assert_eq!(
        clauses(side),
        [
            "from: pods with app=cart in namespace shop only, the flow is from pod web/front (app=cart)",
            "ports: TCP 6379 only, the flow is TCP 6380"
        ]
    );
}

#[test]
fn the_suggested_policy_is_the_smallest() {
    let from_other = explain(&redis(), "web/front > shop/redis 6380/tcp");
    let want = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: allow-ingress-tcp-6380
  namespace: shop
spec:
  podSelector:
    matchLabels:
      app: redis
      tier: back
  policyTypes:
  - Ingress
  ingress:
  - from:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: web
      podSelector:
        matchLabels:
          app: cart
    ports:
    - protocol: TCP
      port: 6380
";
    let side = from_other.targets[0].ingress.as_ref().unwrap();
    assert_eq!(side.suggestions[0].yaml, want);
    let words = from_other.to_string();
    assert!(
        words.starts_with("denied: pod web/front (app=cart) -> 10.0.0.2, TCP 6380\n"),
        "{words}"
    );
    assert!(
        words.contains("\n      apiVersion: networking.k8s.io/v1\n"),
        "{words}"
    );
    // Of the same namespace, and from outside.
    let from_own = explain(&redis(), "shop/cart > shop/redis 6380/tcp");
    let own = &from_own.targets[0].ingress.as_ref().unwrap().suggestions[0].yaml;
    assert!(
        own.contains(
            "  - from:\n    - podSelector:\n        matchLabels:\n          app: cart\n    ports:"
        ),
        "{own}"
    );
    let outside = explain(&redis(), "8.8.8.8 > shop/redis 6379/tcp");
    let outside = &outside.targets[0].ingress.as_ref().unwrap().suggestions[0].yaml;
    assert!(
        outside.contains("    - ipBlock:\n        cidr: \"8.8.8.8/32\"\n"),
        "{outside}"
    );
}

#[test]
fn an_allowed_flow_is_told_every_rule_that_allows_it() {
    let mut world = redis();
    let all = np(
        "shop/all",
        "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {}]}",
    );
    let first = np(
        "shop/redis-ingress",
        "{podSelector: {matchLabels: {app: redis}}, ingress: [{ports: [{port: 6379}]}]}",
    );
    world.declare(&[first, all].join("---\n"));
    let explanation = explain(&world, "shop/cart > 10.96.0.1 6379/tcp");
    assert_eq!(explanation.outcome, Outcome::Allowed);
    let side = explanation.targets[0].ingress.as_ref().unwrap();
    let matching: Vec<String> = (side.policies.iter())
        .flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)))
        .filter(|(_, rule)| rule.matches == Matches::Yes)
        .map(|(policy, rule)| format!("{} {}", policy.policy, rule.rule))
        .collect();
    assert_eq!(
        matching,
        [
            "shop/redis-ingress ingress[0]",
            "shop/all ingress[0].from[0]",
            "shop/all ingress[1]"
        ]
    );
    assert_eq!(side.suggestions, []);
}

#[test]
fn an_undecided_flow_is_told_what_would_decide_it() {
    let explanation = explain(&redis(), "shop/cart > shop/redis ?/icmp");
    assert_eq!(explanation.outcome, Outcome::Undecided);
    let words = explanation.to_string();
    assert!(
        words.contains("(undefined-protocol) by NetworkPolicy shop/redis-ingress"),
        "{words}"
    );
    let explanation = explain(&redis(), "shop/cart > 10.96.0.1 99/tcp");
    let words = explanation.to_string();
    assert!(words.contains("would tell who answers"), "{words}");
}

#[test]
fn what_an_admin_denies_is_mended_before_the_rule_that_does() {
    let deny = "subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}";
    for (kind, policy) in [
        (
            "ClusterNetworkPolicy",
            cnp("deny", &format!("{{tier: Admin, priority: 0, {deny}")),
        ),
        (
            "AdminNetworkPolicy",
            v1alpha1(
                "AdminNetworkPolicy",
                "deny",
                &format!("{{priority: 0, {deny}"),
            ),
        ),
        (
            "BaselineAdminNetworkPolicy",
            v1alpha1(
                "BaselineAdminNetworkPolicy",
                "default",
                &format!("{{{deny}"),
            ),
        ),
    ] {
        let world = World::new(CLUSTER, &[policy]);
        let question = "web/front > shop/redis 6379/tcp";
        let explanation = explain(&world, question);
        let suggestions = &explanation.targets[0].ingress.as_ref().unwrap().suggestions;
        let before = suggestions[0].before.as_ref().unwrap();
        assert_eq!((before.kind, &*before.rule), (kind, "ingress[0]"));
        let mended = apply(&world.policies, suggestions);
        assert!(
            World {
                policies: mended,
                ..world
            }
            .passes(question),
            "{}",
            suggestions[0].yaml
        );
    }
}

#[test]
fn every_reason_is_in_the_documentation() {
    let table = include_str!("../../../docs/verdicts.md");
    for reason in flowmon::policy::Reason::ALL {
        assert!(
            table.contains(&format!("\n| `{}` |", reason.label())),
            "{reason:?}"
        );
    }
}

/// Does as it is told.
fn apply(policies: &PolicySet, suggestions: &[Suggestion]) -> PolicySet {
    let mut mended = policies.clone();
    for suggestion in suggestions {
        match &suggestion.before {
            None => mended.policies.extend(read(&suggestion.yaml)),
            Some(before) => insert(&mut mended, before, &suggestion.yaml),
        }
    }
    mended
}

fn read(yaml: &str) -> Vec<Arc<Policy>> {
    let documents = document::read([("test.yaml".into(), yaml)]);
    assert_eq!(documents.errors().next(), None, "{yaml}");
    documents.set.policies
}

fn insert(mended: &mut PolicySet, before: &Before, yaml: &str) {
    let (direction, number) = before.rule.split_once('[').unwrap();
    let number: usize = number.trim_end_matches(']').parse().unwrap();
    let yaml = yaml.replace('\n', "\n    ");
    let spec =
        format!("\n  priority: 1\n  subject: {{namespaces: {{}}}}\n  {direction}:\n    {yaml}");
    let document = match before.kind {
        "ClusterNetworkPolicy" => cnp("rule", &format!("{spec}\n  tier: Admin")),
        _ => v1alpha1("AdminNetworkPolicy", "rule", &spec),
    };
    let read = read(&document);
    let of = |policy: &Policy| match direction {
        "egress" => policy.egress.clone(),
        _ => policy.ingress.clone(),
    };
    let rule = of(&read[0]).unwrap().swap_remove(0);
    let is_it = |policy: &&mut Arc<Policy>| {
        policy.id.name.as_ref() == before.policy && policy.id.kind != Kind::NetworkPolicy
    };
    let policy = mended.policies.iter_mut().find(is_it).unwrap();
    let policy = Arc::make_mut(policy);
    let rules = if direction == "egress" {
        &mut policy.egress
    } else {
        &mut policy.ingress
    };
    rules.as_mut().unwrap().insert(number, rule);
}

/// What is suggested for one side makes that side allow it, whatever cluster it is.
#[test]
fn suggestions_work() {
    let (mut suggested, mut denied) = (0, 0);
    for seed in 0..1_500_u64 {
        let bytes = random::bytes(seed + 1, 1200);
        let dice = &mut Dice(&bytes);
        let settings = random::settings(dice);
        let policies = random::policies(dice);
        let inventory = random::inventory(dice);
        let world = World {
            inventory,
            policies,
            settings,
        };
        let ruleset = Ruleset::compile(&world.policies, &world.inventory, settings);
        for _ in 0..20 {
            let connection = random::connection(dice, &world.inventory);
            let explanation = ruleset.explain(&connection);
            let verdicts = ruleset.judge(&connection);
            let whole = |said: &Option<flowmon::policy::explain::Said>| {
                said.as_ref().map(|said| said.outcome)
            };
            assert_eq!(
                whole(&explanation.egress),
                verdicts.egress.map(|verdict| verdict.outcome)
            );
            assert_eq!(
                whole(&explanation.ingress),
                verdicts.ingress.map(|verdict| verdict.outcome)
            );
            let [target] = &explanation.targets[..] else {
                continue;
            };
            for (is_egress, side) in [(true, &target.egress), (false, &target.ingress)] {
                let Some(side) = side
                    .as_ref()
                    .filter(|side| side.verdict.outcome == Outcome::Denied)
                else {
                    continue;
                };
                denied += 1;
                if side.suggestions.is_empty() {
                    continue;
                }
                suggested += 1;
                let mended = apply(&world.policies, &side.suggestions);
                let mended = Ruleset::compile(&mended, &world.inventory, settings);
                let verdicts = mended.judge(&connection);
                let verdict = if is_egress {
                    verdicts.egress
                } else {
                    verdicts.ingress
                };
                let verdict = verdict.unwrap();
                assert_eq!(
                    verdict.outcome,
                    Outcome::Allowed,
                    "{verdict:?}\n{explanation}\nfor {connection:?} in {:?}\nby {:?}",
                    world.inventory,
                    world.policies
                );
            }
        }
    }
    // Nearly always there is something to suggest.
    assert!(
        suggested * 2 > denied && suggested > 1_000,
        "{suggested} of {denied}"
    );
}
