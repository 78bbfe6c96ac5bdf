//! `flowmon explain`

use std::net::IpAddr;

use super::{Exit, Failure, documents, print};
use crate::{
    cli::{AskedPort, ExplainArgs, TextOutput},
    policy::{Connection, Inventory, Outcome, Ruleset, inventory::PodId, verdict::End},
    sinks::escaped,
};

pub(super) fn run(args: &ExplainArgs) -> Result<Exit, Failure> {
    let judging = args.judging.settings();
    let policies = documents::policies(&judging.policies)?;
    let inventory = documents::inventory(&judging.inventory)?;
    let connection = connection(&inventory, &args.from, &args.to, args.port)
        .map_err(|message| Failure::new(Exit::Usage, escaped(&message)))?;
    let ruleset = Ruleset::compile(&policies, &inventory, judging.corners);
    let explanation = ruleset.explain(&connection);
    let text = match args.output {
        TextOutput::Json => {
            let json = serde_json::to_string(&explanation);
            json.map_err(|error| Failure::new(Exit::Usage, error))? + "\n"
        }
        TextOutput::Text => {
            let text = explanation.to_string();
            let lines: Vec<_> = text.lines().map(escaped).collect();
            lines.join("\n") + "\n"
        }
    };
    print(&text)?;
    Ok(match explanation.outcome {
        Outcome::Allowed => Exit::Done,
        Outcome::Denied => Exit::Violations,
        Outcome::Undecided => Exit::Incomplete,
    })
}

fn connection(
    inventory: &Inventory,
    initiator_name: &str,
    responder_name: &str,
    port: AskedPort,
) -> Result<Connection, String> {
    let from = ends(inventory, initiator_name, false)?;
    let to = ends(inventory, responder_name, true)?;
    let pairs = || {
        from.iter()
            .flat_map(|from| to.iter().map(move |to| (from, to)))
    };
    let same_family = |(from, to): &(&End, &End)| {
        from.address.to_canonical().is_ipv4() == to.address.to_canonical().is_ipv4()
    };
    let Some((initiator, responder)) = pairs().find(same_family) else {
        return Err(format!(
            "{initiator_name} and {responder_name} have no addresses of the same family"
        ));
    };
    Ok(Connection {
        initiator: initiator.clone(),
        responder: responder.clone(),
        protocol: port.protocol,
        port: port.number,
    })
}

/// Everything that an end's name can stand for: its addresses.
fn ends(inventory: &Inventory, text: &str, may_be_service: bool) -> Result<Vec<End>, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(vec![End { address, pod: None }]);
    }
    let Some((namespace, name)) = text.split_once('/') else {
        return Err(format!("{text} is neither an address nor NAMESPACE/NAME"));
    };
    let id = PodId {
        namespace: namespace.into(),
        name: name.into(),
    };
    let (addresses, pod) = if let Some(pod) = inventory.pods.get(&id) {
        (&pod.addresses, Some(id))
    } else if let Some(service) = inventory.services.get(&id).filter(|_| may_be_service) {
        (&service.addresses, None)
    } else {
        let what = if may_be_service {
            "pod or service"
        } else {
            "pod"
        };
        return Err(format!("the inventory has no {what} {text}"));
    };
    if addresses.is_empty() {
        return Err(format!("{text} has no address"));
    }
    let end = |address: &IpAddr| End {
        address: *address,
        pod: pod.clone(),
    };
    Ok(addresses.iter().map(end).collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use crate::policy::inventory::{Pod, Service};

    #[test]
    fn ends_are_pods_services_and_addresses() {
        let mut inventory = Inventory::default();
        let id = |name: &str| PodId {
            namespace: "shop".into(),
            name: name.into(),
        };
        let pod = Pod {
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            ..Pod::default()
        };
        let service = Service {
            addresses: vec!["fd96::1".parse().unwrap()],
            ..Service::default()
        };
        inventory.pods.insert(id("cart"), pod);
        inventory.pods.insert(id("done"), Pod::default());
        inventory.services.insert(id("redis"), service);
        let ask = |from: &str, to: &str| connection(&inventory, from, to, "443".parse().unwrap());
        // Of its two addresses the one that the service can be reached from.
        let found = ask("shop/cart", "shop/redis").unwrap();
        assert_eq!(found.initiator.address.to_string(), "fd00::1");
        assert_eq!(found.initiator.pod, Some(id("cart")));
        assert_eq!(found.responder.pod, None);
        assert_eq!((found.protocol, found.port), (6, Some(443)));
        assert!(ask("8.8.8.8", "shop/cart").is_ok());
        for (from, to, why) in [
            (
                "shop/redis",
                "shop/cart",
                "the inventory has no pod shop/redis",
            ),
            (
                "shop/cart",
                "shop/gone",
                "the inventory has no pod or service shop/gone",
            ),
            ("shop/done", "shop/cart", "shop/done has no address"),
            (
                "cart",
                "shop/cart",
                "cart is neither an address nor NAMESPACE/NAME",
            ),
            (
                "8.8.8.8",
                "shop/redis",
                "8.8.8.8 and shop/redis have no addresses of the same family",
            ),
        ] {
            assert_eq!(ask(from, to), Err(why.to_owned()));
        }
    }
}
