//! What problems are called, and what each means: names are promises to users, who filter by them.

/// Every name, with a sentence on it.
pub const RULES: &[(&str, &str)] = &[
    // Errors: the API server would reject it, or flowmon can't honour it.
    ("unreadable", "The file can't be opened, or is not UTF-8."),
    (
        "syntax",
        "The text is neither YAML nor JSON, or it is too big or too deep.",
    ),
    (
        "too-many-problems",
        "So much is wrong with the file that the rest was not read.",
    ),
    (
        "no-object",
        "A document is no object with `apiVersion` and `kind`.",
    ),
    (
        "unsupported-policy",
        "A network policy of a kind or version that flowmon does not know: its verdicts leave it out.",
    ),
    (
        "duplicate-policy",
        "Two policies of the same kind, namespace and name.",
    ),
    (
        "unknown-field",
        "A field that this kind does not have; mostly a typo.",
    ),
    (
        "duplicate-field",
        "A field occurs twice in the same object.",
    ),
    ("missing-field", "A field that must be there is not."),
    (
        "wrong-type",
        "A string where a number must be, or the like; YAML reads `1`, `yes` and `on` as no strings.",
    ),
    ("invalid-name", "A name that Kubernetes does not allow."),
    ("invalid-label", "A label that Kubernetes does not allow."),
    (
        "invalid-annotation",
        "An annotation whose key Kubernetes does not allow.",
    ),
    (
        "invalid-selector",
        "A label selector with an operator, key or values that can't be.",
    ),
    (
        "invalid-type",
        "A policy type other than Ingress and Egress.",
    ),
    (
        "invalid-port",
        "A port that is none, or a range from high to low.",
    ),
    (
        "invalid-protocol",
        "A protocol other than TCP, UDP and SCTP.",
    ),
    (
        "invalid-network",
        "An address range that is none, or that programs read differently.",
    ),
    (
        "except-outside",
        "An `except` that is not inside its `cidr`.",
    ),
    ("empty-peer", "A peer that says nothing."),
    ("mixed-peer", "`ipBlock` beside a selector in one peer."),
    ("invalid-tier", "A tier other than Admin and Baseline."),
    (
        "invalid-priority",
        "A priority that is not between 0 and 1000.",
    ),
    ("invalid-action", "An action that this kind does not have."),
    ("invalid-peer", "A peer that this rule may not have."),
    ("invalid-domain-name", "A domain name that is none."),
    (
        "not-exactly-one",
        "None or several fields where one must be set.",
    ),
    ("list-length", "A list with too many items, or too few."),
    (
        "duplicate-item",
        "An item occurs twice in a list that is a set.",
    ),
    (
        "named-port-without-pods",
        "A named port beside peers that are not pods.",
    ),
    (
        "old-shape",
        "Fields of AdminNetworkPolicy as they were before release 0.1.2.",
    ),
    (
        "broken-object",
        "An object of the inventory lacks something, or has something that can't be.",
    ),
    // Warnings and notes of a document.
    (
        "host-bits",
        "An address range with bits set behind its prefix (an error from v1beta1 on).",
    ),
    (
        "namespace-ignored",
        "A namespace of an object that belongs to the whole cluster.",
    ),
    (
        "no-spec",
        "A NetworkPolicy without `spec` isolates its whole namespace.",
    ),
    (
        "no-pod-selector",
        "A NetworkPolicy without `podSelector` selects every pod of its namespace.",
    ),
    (
        "no-namespace-selector",
        "Without `namespaceSelector` it is about all namespaces.",
    ),
    (
        "inert-rules",
        "Rules of a direction that is not in `policyTypes` do nothing.",
    ),
    (
        "empty-egress-without-type",
        "`egress: []` without `policyTypes` isolates nothing.",
    ),
    (
        "empty-list",
        "An empty `from`, `to` or `ports` means everything.",
    ),
    ("null-item", "A list item without content means everything."),
    // Of all policies together.
    (
        "or-instead-of-and",
        "Two peers beside one another, joined by or, that look like one.",
    ),
    (
        "superfluous-rule",
        "Another rule of the policy allows all that this one does.",
    ),
    ("same-as-another", "Another policy says the same."),
    (
        "shadowed-rule",
        "A rule of the admin kinds that never decides: an earlier one matches all that it does.",
    ),
    (
        "same-priority",
        "Two policies of the admin kinds have the same priority: which one counts is not defined.",
    ),
    (
        "mixed-generations",
        "ClusterNetworkPolicy together with the v1alpha1 kinds: how they work together is not specified.",
    ),
    (
        "no-dns",
        "Pods are isolated for egress, may reach something, and can't ask DNS.",
    ),
    // With an inventory.
    (
        "selects-no-pod",
        "A policy that selects no pod of the pod network.",
    ),
    (
        "matches-no-namespace",
        "A `namespaceSelector` that no namespace matches.",
    ),
    ("matches-no-node", "A node selector that no node matches."),
    (
        "peer-in-other-namespace",
        "A `podSelector` alone, whose pods are in another namespace.",
    ),
    (
        "and-matches-nobody",
        "Selectors for namespaces and pods that both match, but nothing together.",
    ),
    ("peer-matches-no-pod", "A peer that matches no pod."),
    (
        "named-port-nowhere",
        "A named port that no pod it could be of has.",
    ),
    (
        "covers-own-addresses",
        "An address range that holds addresses of pods: not every network matches these by it.",
    ),
    (
        "covers-service-addresses",
        "An address range that holds addresses of services: these are mostly replaced first.",
    ),
    (
        "shared-address",
        "Two running pods of the inventory have the same address.",
    ),
    (
        "duplicate-object",
        "Two different objects of the inventory have the same name.",
    ),
];

/// The sentence on a name.
pub fn meaning(rule: &str) -> Option<&'static str> {
    let found = RULES.iter().find(|(name, _)| *name == rule);
    found.map(|(_, meaning)| *meaning)
}
