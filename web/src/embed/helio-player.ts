/**
 * The script `/embed/helio-player.js`, with which pages of other sites get `<helio-player>`. Its name stays
 * the same in every version. Channels with bare names are those of the server that it came from.
 */

import { HelioPlayer } from "../player/helio-player";

HelioPlayer.home = new URL(/* @vite-ignore */ "/", import.meta.url).href;
