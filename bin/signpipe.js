#!/usr/bin/env node
// Plain JavaScript for whatever Node the machine has: the launcher finds the pinned one and becomes src/cli.ts.
import { launch } from "../scripts/launch.mjs";

await launch("signpipe", process.argv.slice(2));
