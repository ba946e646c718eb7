//! Heliograph's packet plane.
