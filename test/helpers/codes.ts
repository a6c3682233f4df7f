import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

/** The source, but for the stand-in provider, whose answers are not ours. */
function filesIn(folder: string): ts.SourceFile[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return name === "simulator" ? [] : filesIn(path);
    if (!path.endsWith(".ts")) return [];
    return [ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.Latest, true)];
  });
}

function each(node: ts.Node, see: (node: ts.Node) => void): void {
  see(node);
  node.forEachChild((child) => {
    each(child, see);
  });
}

const OR = new Set([ts.SyntaxKind.QuestionQuestionToken, ts.SyntaxKind.BarBarToken]);

/** What an expression can come to, as far as it is written out: both sides of "a ? b : c" and "a ?? b". */
function textsOf(node: ts.Node | undefined, constants: Constants = new Map()): string[] {
  if (node === undefined) return [];
  if (ts.isStringLiteral(node)) return [node.text];
  if (ts.isIdentifier(node)) return (constants.get(node.text) ?? []).flatMap((value) => textsOf(value));
  if (ts.isConditionalExpression(node)) {
    return [...textsOf(node.whenTrue, constants), ...textsOf(node.whenFalse, constants)];
  }
  if (ts.isBinaryExpression(node) && OR.has(node.operatorToken.kind)) {
    return [...textsOf(node.left, constants), ...textsOf(node.right, constants)];
  }
  const isWrapped = ts.isParenthesizedExpression(node) || ts.isAsExpression(node);
  return isWrapped ? textsOf(node.expression, constants) : [];
}

/** What the constants of a file are set to, by name; scopes are not told apart. */
type Constants = Map<string, ts.Expression[]>;

function constantsIn(file: ts.SourceFile): Constants {
  const constants: Constants = new Map();
  each(file, (node) => {
    if (!ts.isVariableDeclaration(node) || !ts.isIdentifier(node.name) || !node.initializer) return;
    constants.set(node.name.text, [...(constants.get(node.name.text) ?? []), node.initializer]);
  });
  return constants;
}

/** A finding of a schema has a code too, of the schema library's own. */
function isOfSchema(node: ts.Node): boolean {
  const call = node.parent.parent;
  return (
    ts.isCallExpression(call) &&
    ts.isPropertyAccessExpression(call.expression) &&
    call.expression.name.text === "addIssue"
  );
}

const isCode = (name: ts.Node | undefined) => name !== undefined && ts.isIdentifier(name) && name.text === "code";

/** Functions of a file, and classes by their constructor, that take a code, and at which place. */
function takersIn(file: ts.SourceFile): Map<string, number> {
  const takers = new Map<string, number>();
  each(file, (node) => {
    if (!ts.isFunctionLike(node)) return;
    const at = node.parameters.findIndex(({ name }) => isCode(name));
    const named = ts.isConstructorDeclaration(node) || ts.isArrowFunction(node) ? node.parent : node;
    const name = (named as { name?: ts.Node }).name;
    if (at >= 0 && name && ts.isIdentifier(name)) takers.set(name.text, at);
  });
  return takers;
}

/** The classes among them are used all over the program. */
function classesIn(files: ts.SourceFile[]): [string, number][] {
  return files.flatMap((file) => [...takersIn(file)].filter(([name]) => /^[A-Z]/.test(name)));
}

/**
 * Every code that the program can give to an error, an end, a note, a log line or an answer: what is written as
 * `code: "…"`, `code = "…"`, in a table called …CODES, as the argument of whatever takes a code, and what waits make of
 * what they wait for.
 */
export function codesIn(folder: string): Set<string> {
  const files = filesIn(folder);
  const classes = classesIn(files);
  const codes = new Set<string>();
  for (const file of files) {
    const takers = new Map([...classes, ...takersIn(file)]);
    const constants = constantsIn(file);
    const add = (node: ts.Node | undefined) => {
      for (const text of textsOf(node, constants)) if (/^[a-z][a-z0-9-]*$/.test(text)) codes.add(text);
    };
    each(file, (node) => {
      if (ts.isPropertyAssignment(node) || ts.isPropertyDeclaration(node)) {
        if (isCode(node.name) && !isOfSchema(node)) add(node.initializer);
      } else if (ts.isVariableDeclaration(node) && node.initializer) {
        if (isCode(node.name)) add(node.initializer);
        const isTable = ts.isIdentifier(node.name) && /(^|_)CODES$/.test(node.name.text);
        if (isTable) each(node.initializer, (inner) => ts.isPropertyAssignment(inner) && add(inner.initializer));
      } else if ((ts.isCallExpression(node) || ts.isNewExpression(node)) && ts.isIdentifier(node.expression)) {
        const at = takers.get(node.expression.text);
        if (at !== undefined) add(node.arguments?.[at]);
        if (!["waitFor", "waitForFile", "whileAtWork"].includes(node.expression.text)) return;
        for (const what of textsOf(node.arguments?.[0], constants))
          codes.add(`${what.replaceAll(/[^a-z0-9]+/gi, "-")}-expired`);
      }
    });
  }
  return codes;
}
