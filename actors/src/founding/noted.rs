//! What a node notes in its data folder that comes in by the door of a member, and that it is a member no more.

use std::path::Path;

use queenright_protocol::colony::Epoch;
use queenright_protocol::id::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

use super::{FoundingError, MEMBERS, Members};
use crate::body::encode;
use crate::epochs;
use crate::store::{DataFolder, Identity, StoreError};

/// The note that tells one wish to be let in from another.
const ATTEMPT: &str = "attempt";
/// The note that says what became of a node that is no member any more.
const LEFT: &str = "left";

/// What a node needs to be a member: what the door of one has answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Admission {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its number there.
    pub number: NodeId,
    /// Who is where.
    pub epoch: Epoch,
}

/// What tells this node's wish to be let in from any other: drawn once for its data folder. Blocks.
///
/// # Errors
/// Those of [`DataFolder::open`], and when the folder has left a cluster. With a number there is nothing to ask for: the
/// node belongs to a cluster.
pub fn attempt(data: &Path, name: &str) -> Result<Result<u64, (ClusterId, NodeId)>, FoundingError> {
    let folder = DataFolder::open(data, name)?;
    left(&folder, name)?;
    if let Some(identity) = folder.identity() {
        return Ok(Err((identity.cluster, identity.number)));
    }
    let noted = folder.note(ATTEMPT)?;
    if let Some(noted) = noted.and_then(|noted| noted.try_into().ok()) {
        return Ok(Ok(u64::from_be_bytes(noted)));
    }
    let drawn = rand::random_range(1..=u64::MAX);
    folder.set_note(ATTEMPT, &drawn.to_be_bytes())?;
    Ok(Ok(drawn))
}

/// Makes a node the member that it was let in as. On disk when this returns. Blocks.
///
/// # Errors
/// Those of [`DataFolder::open`], and when the folder cannot be written.
pub fn come_in(data: &Path, name: &str, admission: &Admission) -> Result<(), FoundingError> {
    let folder = DataFolder::open(data, name)?;
    let Admission { cluster, number, epoch } = admission;
    let places = epoch.places.iter();
    let members: Members = places.map(|(number, place)| (place.name.clone(), *number)).collect();
    epochs::set_note(&folder, epoch)?;
    folder.set_note(MEMBERS, &encode(&members))?;
    folder.set_identity(Identity {
        cluster: *cluster,
        number: *number,
        name: name.to_owned(),
    })?;
    Ok(())
}

/// Notes what became of a node that is no member any more, so that it does not start as one again.
pub(crate) fn note_left(folder: &DataFolder, reason: &str) -> Result<(), StoreError> {
    folder.set_note(LEFT, reason.as_bytes())
}

/// Refuses a folder whose node is no member any more.
pub(crate) fn left(folder: &DataFolder, name: &str) -> Result<(), FoundingError> {
    match folder.note(LEFT)? {
        Some(reason) if !reason.is_empty() => Err(FoundingError::Left {
            name: name.to_owned(),
            reason: String::from_utf8_lossy(&reason).into_owned(),
            folder: folder.path().to_owned(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use queenright_protocol::colony::Place;
    use queenright_protocol::topology::Kind;

    use super::*;
    use crate::epochs::Epochs;
    use crate::founding::stored_members;

    #[test]
    fn a_node_asks_with_one_attempt_until_it_is_a_member_and_is_none_again_after_it_has_left() {
        let data = tempfile::tempdir().unwrap();
        let drawn = attempt(data.path(), "n4").unwrap().unwrap();
        assert_eq!(attempt(data.path(), "n4").unwrap(), Ok(drawn));
        let mut epoch = Epoch::of(3, Kind::Mesh, [NodeId(1)].into());
        for (number, name) in [(1, "n1"), (4, "n4")] {
            let place = Place {
                name: name.into(),
                links: format!("{name}:1"),
                http: format!("{name}:2"),
                attempt: 0,
            };
            epoch.places.insert(NodeId(number), place);
        }
        let (cluster, number) = (ClusterId([7; 16]), NodeId(4));
        let admission = Admission {
            cluster,
            number,
            epoch: epoch.clone(),
        };
        come_in(data.path(), "n4", &admission).unwrap();
        assert_eq!(attempt(data.path(), "n4").unwrap(), Err((cluster, number)));
        let folder = DataFolder::open(data.path(), "n4").unwrap();
        assert_eq!(Epochs::open(&folder).unwrap().present(), Some(epoch));
        let members = stored_members(&folder).unwrap().unwrap();
        assert_eq!(members, [("n1".to_owned(), NodeId(1)), ("n4".to_owned(), number)]);
        note_left(&folder, "it was removed").unwrap();
        drop(folder);
        let refused = attempt(data.path(), "n4").unwrap_err().to_string();
        assert!(
            refused.contains("it was removed") && refused.contains("n4"),
            "{refused}"
        );
    }
}
