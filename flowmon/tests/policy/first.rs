//! The shape of an answer.

use std::sync::Arc;

use flowmon::policy::{
    Inventory, Outcome, PolicySet, Reason, Ruleset, Settings, Verdict,
    model::{Namespaces, PeerMatch},
};

use super::build::{add_pod, connection, network_policy, rule, selector, tcp};

fn shop() -> Inventory {
    let mut inventory = Inventory::default();
    add_pod(&mut inventory, "shop/cart", "10.1.0.5", "app=cart");
    add_pod(&mut inventory, "shop/redis", "10.1.0.9", "app=redis");
    add_pod(&mut inventory, "web/front", "10.1.0.7", "app=cart");
    inventory
}

#[test]
fn a_verdict_names_policy_rule_and_peer() {
    let peer = PeerMatch::Pods {
        namespaces: Namespaces::Named("shop".into()),
        pods: selector("app=cart"),
    };
    let mut policy = network_policy("shop/redis-ingress", selector("app=redis"));
    policy.ingress = Some(vec![rule("spec.ingress[0]", vec![peer], vec![tcp(6379)])]);
    let policies = PolicySet {
        policies: vec![Arc::new(policy)],
    };
    let ruleset = Ruleset::compile(&policies, &shop(), Settings::default());

    let allowed = ruleset.judge(&connection("10.1.0.5", "10.1.0.9", 6, 6379));
    let not_isolated = Verdict {
        outcome: Outcome::Allowed,
        reason: Reason::NotIsolated,
        policy: None,
        rule: None,
    };
    assert_eq!(allowed.egress, Some(not_isolated));
    let ingress = allowed.ingress.unwrap();
    assert_eq!(ingress.outcome, Outcome::Allowed);
    assert_eq!(ingress.policy.unwrap().to_string(), "shop/redis-ingress");
    assert_eq!(ingress.rule.as_deref(), Some("ingress[0].from[0]"));

    for denied in [("10.1.0.7", 6379), ("10.1.0.5", 6380)] {
        let denied = ruleset.judge(&connection(denied.0, "10.1.0.9", 6, denied.1));
        let ingress = denied.ingress.unwrap();
        assert_eq!(ingress.outcome, Outcome::Denied);
        assert_eq!(ingress.reason, Reason::NoRuleMatched);
        assert_eq!(ingress.policy.unwrap().to_string(), "shop/redis-ingress");
        assert_eq!(ingress.rule, None);
    }
}
