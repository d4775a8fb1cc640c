//! The model: tokens of doors, as a list.

use super::*;

impl Model {
    pub(super) fn door_token_command(&mut self, command: &DoorTokenCommand, at: &At) -> Result<Outcome, Refusal> {
        let (DoorTokenCommand::Create { name, .. } | DoorTokenCommand::Revoke { name }) = command;
        if name.len() > 64 {
            return Err(over("name", name.len(), 64));
        }
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
        if ["", ".", ".."].contains(&&**name) || !name.chars().all(good) {
            let problem = "is empty, a step of a path, or has other characters than letters, digits, - _ and .";
            return Err(bad("name", problem));
        }
        let place = self.door_tokens.iter().position(|(known, _)| *known == **name);
        match command {
            DoorTokenCommand::Create {
                access,
                secret,
                expires_ms,
                ..
            } => {
                if let Some(expires_ms) = expires_ms.filter(|expires_ms| *expires_ms <= at.wall_ms) {
                    let problem = format!("{expires_ms} has passed, it is {}", at.wall_ms);
                    return Err(bad("expires_ms", &problem));
                }
                if place.is_some() {
                    return Err(Refusal::DoorTokenExists { name: name.clone() });
                }
                if self.door_tokens.iter().any(|(_, token)| token.secret == *secret) {
                    return Err(bad("secret", "is that of another token"));
                }
                if self.door_tokens.len() >= 256 {
                    return Err(over("door_tokens", self.door_tokens.len() + 1, 256));
                }
                let token = DoorToken {
                    access: *access,
                    secret: *secret,
                    expires_ms: *expires_ms,
                    author: at.author.clone(),
                    made_ms: at.wall_ms,
                };
                self.door_tokens.push((name.to_string(), token));
            }
            DoorTokenCommand::Revoke { name } => {
                let unknown = Refusal::UnknownDoorToken { name: name.clone() };
                self.door_tokens.remove(place.ok_or(unknown)?);
            }
        }
        Ok(Outcome::DoorTokenSet { seq: at.seq })
    }

    /// All of them, by name.
    pub(in crate::colony::tests) fn door_tokens_by_name(&self) -> BTreeMap<String, DoorToken> {
        self.door_tokens.iter().cloned().collect()
    }
}
