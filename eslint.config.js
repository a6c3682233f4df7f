import js from "@eslint/js";
import tseslint from "typescript-eslint";

/** Packages that only some folders may import: whoever reads the folder knows what it can touch. */
const ONLY_IN = [{ packages: ["bullmq", "ioredis"], folders: ["src/queues/**", "src/app.ts"] }];
const EVERYWHERE = ["src/**/*.ts"];

/** Folders that may read the environment; everything else is told what it needs. */
const MAY_READ_ENVIRONMENT = [
  "src/config.ts",
  "scripts/**",
  "bin/**",
  "test/**",
  "bench/**",
  "examples/**",
  "docker/**",
];
/** Files that talk to the person at the terminal. */
const MAY_USE_CONSOLE = [
  "src/cli.ts",
  "src/cli/**",
  "scripts/**",
  "bin/**",
  "bench/**",
  "examples/**",
  "docker/**",
  "test/foreign/trial.ts",
];
/** Files whose reader insists on a default export. */
const MAY_EXPORT_DEFAULT = ["eslint.config.js", "vitest.config.ts"];

const noEnvironment = {
  selector: "MemberExpression[object.name='process'][property.name='env']",
  message: "Only src/config.ts reads the environment; take what you need as an argument.",
};
const noEnums = { selector: "TSEnumDeclaration", message: "Use a const list and a union of its members." };

export default tseslint.config(
  { ignores: ["node_modules/", "data/", ".cache/", "coverage/", "dist/", "**/*.html"] },
  js.configs.recommended,
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-misused-promises": "error",
      "@typescript-eslint/await-thenable": "error",
      "@typescript-eslint/return-await": ["error", "error-handling-correctness-only"],
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "inline-type-imports" }],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      // A function that promises for its interface's sake, or for a framework's, need not await.
      "@typescript-eslint/require-await": "off",
      // Closures instead of classes: what looks like a method here has no "this".
      "@typescript-eslint/unbound-method": "off",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
    },
  },
  {
    files: ["**/*.{ts,js,mjs}"],
    rules: {
      eqeqeq: ["error", "smart"],
      "no-console": "error",
      "no-restricted-exports": ["error", { restrictDefaultExports: { direct: true, named: true, defaultFrom: true } }],
      "no-restricted-syntax": ["error", noEnvironment, noEnums],
      "no-constant-condition": ["error", { checkLoops: false }],
    },
  },
  {
    // Plain JavaScript: what runs before anything is installed.
    files: ["**/*.{js,mjs}"],
    languageOptions: {
      globals: Object.fromEntries(
        ["process", "console", "setTimeout", "clearTimeout", "setInterval", "clearInterval", "URL", "fetch"].map(
          (name) => [name, "readonly"],
        ),
      ),
    },
  },
  {
    // Pages' scripts run in a browser.
    files: ["src/dashboard/**/*.js", "src/simulator/**/*.js"],
    languageOptions: {
      globals: Object.fromEntries(
        [
          "window",
          "document",
          "fetch",
          "location",
          "EventSource",
          "URL",
          "URLSearchParams",
          "FormData",
          "navigator",
        ].map((name) => [name, "readonly"]),
      ),
    },
  },
  { files: MAY_READ_ENVIRONMENT, rules: { "no-restricted-syntax": ["error", noEnums] } },
  { files: MAY_USE_CONSOLE, rules: { "no-console": "off" } },
  { files: MAY_EXPORT_DEFAULT, rules: { "no-restricted-exports": "off" } },
  ...ONLY_IN.map(({ packages, folders }) => ({
    files: EVERYWHERE,
    ignores: folders,
    rules: {
      "no-restricted-imports": [
        "error",
        { paths: packages.map((name) => ({ name, message: `${name} is imported only in ${folders.join(" and ")}.` })) },
      ],
    },
  })),
  // Matchers and parsed JSON in expectations are "any" by nature.
  { files: ["test/**/*.ts"], rules: { "@typescript-eslint/no-unsafe-assignment": "off" } },
);
