import { randomUUID } from "node:crypto";
import { z } from "zod";
import { objectBody, pathText, textOf } from "../bodies.ts";
import type { Context } from "../context.ts";
import { gave, NoSuchRoute, Refusal, said } from "../envelopes.ts";
import type { Generation, Handlers } from "../operations.ts";
import { changeOptimizer, OPTIMIZER_CHANGE } from "../optimizer.ts";

const BASE64 = z.base64();

/** One page says that the newest generation has no settings any more, another has them. */
function checkServed({ settings }: Context, generation: Generation): void {
  if (generation === "newest" && !settings.settingsApi) throw new NoSuchRoute();
}

function removeMetadata({ store, kept, ledger }: Context, uid: string): void {
  store.metadata.delete(uid);
  kept.save("metadata", uid, undefined);
  ledger.add("delete-metadata", { document_uid: uid });
}

/** What the Optimizer says of itself, its settings, and metadata. @source docs/provider.md §Sources: first-generation reference */
export const optimizerHandlers = (context: Context) =>
  ({
    hello: () => gave("Hello"),

    version: () =>
      gave({
        name: "OneShot Optimizer",
        version: "1.5.0",
        info: { machine: "simulator", version: "", release: "", hostname: "simulator", system: "", processor: "" },
      }),

    getSettings(_call, _reply, generation) {
      checkServed(context, generation);
      return gave(context.optimizer);
    },

    saveSettings(call, _reply, generation) {
      checkServed(context, generation);
      const change = OPTIMIZER_CHANGE.safeParse(objectBody(call.body));
      if (!change.success) throw new Refusal(400, z.prettifyError(change.error));
      changeOptimizer(context.optimizer, change.data);
      context.kept.save("optimizer", "", context.optimizer);
      context.ledger.add("settings");
      return said("Settings saved successfully");
    },

    createMetadata(call) {
      const body = objectBody(call.body);
      const [value, oid] = [textOf(body, "metadata"), textOf(body, "metadata_oid")];
      if (value === undefined || oid === undefined) throw new Refusal(400, "Missing required parameters");
      if (!BASE64.safeParse(value).success) throw new Refusal(400, "Metadata is not base64 encoded");
      const uid = randomUUID().replaceAll("-", "");
      context.store.metadata.set(uid, { oid, value });
      context.kept.save("metadata", uid, { oid, value });
      context.ledger.add("metadata", { document_uid: uid });
      return gave(uid);
    },

    listMetadata: () => gave(Object.fromEntries([...context.store.metadata].map(([uid, { oid }]) => [uid, oid]))),

    getMetadata(call) {
      const found = context.store.metadata.get(pathText(call.params, "metadata_uid"));
      if (!found) throw new Refusal(404, "Metadata not found on disk");
      return gave({ metadata: found.value, metadata_oid: found.oid });
    },

    deleteMetadata(call) {
      const uid = pathText(call.params, "metadata_uid");
      if (!context.store.metadata.has(uid)) throw new Refusal(404, "Metadata not found on disk");
      removeMetadata(context, uid);
      return said("Metadata deleted");
    },

    deleteAllMetadata() {
      for (const uid of [...context.store.metadata.keys()]) removeMetadata(context, uid);
      return said("Metadata deleted");
    },
  }) satisfies Handlers;
