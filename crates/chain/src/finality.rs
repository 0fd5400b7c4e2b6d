//! Show that a state is final with as few bytes as that takes.
//!
//! Of the header a proof of cells carries what it says of the state, and one hash for the rest; of a header between
//! it and the certified one two hashes, from which and from the digest below follows the digest above. Left out is
//! what the client knows or can compute: the network, the state root (the cells' paths lead to it), heights and views
//! that follow from each other.
//!
//! Of the certificate it carries the signature over the block. The other one, over the round, is the next block's
//! randomness and says nothing about the block: a quorum signed either way, and this one alone makes it final.

use crate::{
    block::{BlockDigest, Frame, Header, SIGNATURE_BYTES, StateHeader, rest},
    certificate::{CertifiedHeader, Finalization, MAX_LINKS},
    path::Log,
};
use commonware_consensus::simplex::types::Proposal;
use tessera_canon::{Compact, Hash, List, encode, record};

record! {
    /// A header between the proved one and the certified one.
    pub struct Link {
        /// Views between its block's and its parent's.
        pub view_step: Compact,
        /// Hash of what it says of its state.
        pub state: Hash,
        /// Hash of everything else but its place and its parent.
        pub body: Hash,
    }
}
record! {
    /// That a state is final, without the state root.
    pub struct FinalState {
        pub height: Compact,
        /// By how much the view is above the height.
        pub view_ahead: Compact,
        /// Views between the block's and its parent's.
        pub view_step: Compact,
        pub time_ms: Compact,
        /// Hash of the parent's digest and of everything in the header that is not of the state.
        pub rest: Hash,
        /// Its descendants up to the certified one, oldest first; empty where its own digest is signed.
        pub links: List<Link, MAX_LINKS>,
        /// The committee's signature over the certified digest, its view and its parent's.
        pub signature: [u8; SIGNATURE_BYTES],
    }
}

/// The signature over the block in a certificate; `None` where the bytes hold none.
fn signature(certificate: &Finalization) -> Option<[u8; SIGNATURE_BYTES]> {
    encode(&certificate.certificate.get()?.vote_signature)[..].try_into().ok()
}

impl FinalState {
    /// The finality of `certified.header`; `None` where it or its links are no chain.
    pub(crate) fn of(certified: &CertifiedHeader) -> Option<Self> {
        let CertifiedHeader { header, links, certificate } = certified;
        let mut above = header;
        let links = links.iter().map(|link: &Header| {
            let next = link.parent_view == above.view && Some(link.height) == above.height.checked_add(1);
            let view_step = Compact(link.view.checked_sub(link.parent_view).filter(|_| next)?);
            above = link;
            Some(Link { view_step, state: link.of_state().state(), body: link.body() })
        });
        let links = List::new(links.collect::<Option<Vec<_>>>()?).ok()?;
        Some(Self {
            height: Compact(header.height),
            view_ahead: Compact(header.view.checked_sub(header.height)?),
            view_step: Compact(header.view.checked_sub(header.parent_view)?),
            time_ms: Compact(header.time_ms),
            rest: header.of_state().rest,
            links,
            signature: signature(certificate)?,
        })
    }
    /// The header of `network` with this state root; `None` where its numbers make none.
    pub(crate) fn header(&self, network: Hash, log: &Log, state_root: Hash) -> Option<StateHeader> {
        let view = self.height.0.checked_add(self.view_ahead.0)?;
        Some(StateHeader {
            network,
            height: self.height.0,
            view,
            parent_view: view.checked_sub(self.view_step.0)?,
            time_ms: self.time_ms.0,
            state_root,
            ops_root: log.root,
            ops_end: log.end.0,
            rest: self.rest,
        })
    }
    /// What the committee must have signed to make `header` final; `None` where the links' numbers make none.
    pub(crate) fn signed(&self, header: &StateHeader) -> Option<Proposal<BlockDigest>> {
        let mut frame = header.frame();
        for link in self.links.iter() {
            frame = Frame {
                network: frame.network,
                height: frame.height.checked_add(1)?,
                view: frame.view.checked_add(link.view_step.0)?,
                parent_view: frame.view,
                state: link.state,
                rest: rest(frame.digest(), link.body),
            };
        }
        Some(frame.proposal())
    }
}
