//! Peers that were probably meant as one, and stand as two.

use super::Remarks;
use crate::policy::model::{Kind, Namespaces, Peer, PeerMatch, Peers, Policy};

pub(super) fn check(policy: &Policy, remarks: &mut Remarks) {
    if policy.id.kind != Kind::NetworkPolicy {
        return;
    }
    for rule in policy.ingress.iter().chain(&policy.egress).flatten() {
        let Peers::OneOf(peers) = &rule.peers else {
            continue;
        };
        for pair in peers.windows(2) {
            if let [first, second] = pair
                && (is_split(first, second) || is_split(second, first))
            {
                let says = "two items are joined by or: all pods of the selected namespaces, and \
                            pods of the policy's own namespace with these labels. If both were to \
                            hold, write `namespaceSelector` and `podSelector` in one item";
                remarks.warn(&second.place, "or-instead-of-and", says);
            }
        }
    }
}

/// A `podSelector` that names labels beside a `namespaceSelector` that does.
fn is_split(pods_only: &Peer, namespaces_only: &Peer) -> bool {
    let (
        PeerMatch::Pods { namespaces, pods },
        PeerMatch::Pods {
            namespaces: others,
            pods: all,
        },
    ) = (&pods_only.what, &namespaces_only.what)
    else {
        return false;
    };
    let Namespaces::Selected(selector) = others else {
        return false;
    };
    matches!(namespaces, Namespaces::Named(_))
        && !pods.is_everything()
        && all.is_everything()
        && !selector.is_everything()
}
