//! What the Kubernetes API leaves to the implementation, and users can set to what theirs does.

/// How undefined corners are judged. The defaults are what most implementations do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `ipBlock` matches pods by their addresses, as the API's text says (default). Cilium does not.
    pub ip_block_matches_pods: bool,
    /// What network policies say of a pod that connects to its own node.
    pub to_own_node: ToOwnNode,
}

/// What becomes of an isolated pod's connection to its own node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToOwnNode {
    /// It is always allowed, as the first page of the Kubernetes documentation says.
    #[default]
    Allowed,
    /// Policies decide, like for any other node.
    Judged,
    /// It is undecided, unless policies allow it.
    Undecided,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ip_block_matches_pods: true,
            to_own_node: ToOwnNode::default(),
        }
    }
}
