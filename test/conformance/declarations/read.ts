/**
 * Reads an SDK as it is installed: from its `.d.ts` what each method of its client resolves to, and from its `.mjs` the verb and path that the
 * method asks for. A method that asks for nothing itself (helpers) is left out; everything else has to be understood, or reading fails.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript-api';
import { createTypeReader, type TypeReader } from './read-types.ts';
import type { Answer, Declarations, Route } from './shape.ts';

/** Neighbours of managed agents in the same SDK. */
const OTHER_APIS = /^\/v1\/(organizations|messages|complete|oauth)\b/;
const VERBS: Record<string, Route['method']> = { get: 'GET', getAPIList: 'GET', post: 'POST', delete: 'DELETE' };
const OPTIONS: ts.CompilerOptions = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noEmit: true,
  skipLibCheck: true,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  types: [],
};

/** @param directory of the installed package */
export function readDeclarations(directory: string): Declarations {
  const { version } = JSON.parse(readFileSync(path.join(directory, 'package.json'), 'utf8')) as { version: string };
  const program = ts.createProgram([path.join(directory, 'client.d.ts')], OPTIONS);
  const checker = program.getTypeChecker();
  const reader = createTypeReader(ts, checker);
  const exported = (file: string, name: string): ts.Type => {
    const source = program.getSourceFile(path.join(directory, file));
    const module = source && checker.getSymbolAtLocation(source);
    const symbol = module && checker.getExportsOfModule(module).find((each) => each.name === name);
    if (!symbol) throw new Error(`${directory}: ${file} exports no ${name}`);
    return checker.getDeclaredTypeOfSymbol(symbol);
  };
  const requests = createRequestReader();
  const routes = methodsOf(exported('client.d.ts', 'Anthropic'), checker).flatMap(({ call, symbol, type, owner }): Route[] => {
    const request = requests.find(owner, symbol.name);
    if (request === null || OTHER_APIS.test(request.path)) return [];
    return [{ call, ...request, answer: readAnswer(type, checker, reader) }];
  });
  const refusal = reader.read(exported('resources/shared.d.ts', 'ErrorResponse'));
  return { version, routes, refusal, shapes: reader.shapes };
}

interface Method {
  call: string;
  symbol: ts.Symbol;
  /** What it returns. */
  type: ts.Type;
  owner: ts.ClassDeclaration;
}

/** All methods of the resources below a client class. */
function methodsOf(client: ts.Type, checker: ts.TypeChecker, prefix = ''): Method[] {
  return client.getProperties().flatMap((symbol): Method[] => {
    const type = checker.getTypeOfSymbol(symbol);
    const call = `${prefix}${symbol.name}`;
    if (isResource(type)) return methodsOf(type, checker, `${call}.`);
    const owner = symbol.valueDeclaration?.parent;
    const signature = type.getCallSignatures().at(-1);
    if (prefix === '' || !signature || !owner || !ts.isClassDeclaration(owner)) return [];
    return [{ call, symbol, type: checker.getReturnTypeOfSignature(signature), owner }];
  });
}

function isResource(type: ts.Type): boolean {
  return type.isClass() && (type.getBaseTypes() ?? []).some(({ symbol }) => symbol.name === 'APIResource');
}

function readAnswer(type: ts.Type, checker: ts.TypeChecker, reader: TypeReader): Answer {
  const [first] = checker.getTypeArguments(type as ts.TypeReference);
  if (first && type.symbol.name === 'PagePromise') return { kind: 'json', shape: reader.readPage(first) };
  if (!first || type.symbol.name !== 'APIPromise') throw new Error(`${checker.typeToString(type)} is no answer`);
  if (first.symbol?.name === 'Response') return { kind: 'bytes' };
  if (first.symbol?.name === 'Stream') {
    const [event] = checker.getTypeArguments(first as ts.TypeReference);
    return { kind: 'stream', shape: reader.read(event!) };
  }
  return { kind: 'json', shape: reader.read(first) };
}

/** The one call of `this._client` in each method of the JavaScript beside a declaration file. */
function createRequestReader() {
  const files = new Map<string, ReadonlyMap<string, Pick<Route, 'method' | 'path'>>>();
  function requestsOf(file: string): ReadonlyMap<string, Pick<Route, 'method' | 'path'>> {
    let found = files.get(file);
    if (!found) {
      found = existsSync(file) ? readRequests(ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022)) : new Map();
      files.set(file, found);
    }
    return found;
  }
  return {
    find(owner: ts.ClassDeclaration, method: string) {
      const file = owner.getSourceFile().fileName.replace(/\.d\.ts$/, '.mjs');
      return requestsOf(file).get(`${owner.name?.text}.${method}`) ?? null;
    },
  };
}

function readRequests(source: ts.SourceFile): Map<string, Pick<Route, 'method' | 'path'>> {
  const found = new Map<string, Pick<Route, 'method' | 'path'>>();
  const visit = (node: ts.Node, place: { owner: string; method: string }): void => {
    let here = place;
    if (ts.isClassDeclaration(node)) here = { ...here, owner: node.name?.text ?? '' };
    if (ts.isMethodDeclaration(node) && ts.isIdentifier(node.name)) here = { ...here, method: node.name.text };
    const request = ts.isCallExpression(node) ? readRequest(node) : null;
    if (request && found.has(`${here.owner}.${here.method}`)) throw new Error(`${source.fileName}: ${here.method} asks twice`);
    if (request) found.set(`${here.owner}.${here.method}`, request);
    ts.forEachChild(node, (child) => visit(child, here));
  };
  visit(source, { owner: '', method: '' });
  return found;
}

/** `this._client.get(path`/v1/agents/${agentID}?beta=true`, …)` */
function readRequest({ expression, arguments: [target] }: ts.CallExpression): Pick<Route, 'method' | 'path'> | null {
  if (!ts.isPropertyAccessExpression(expression) || !ts.isPropertyAccessExpression(expression.expression)) return null;
  if (expression.expression.name.text !== '_client' || target === undefined) return null;
  const method = VERBS[expression.name.text];
  const text = readPath(target);
  if (!method || text === null) return null;
  return { method, path: text.replace(/\?.*$/, '') };
}

function readPath(node: ts.Expression): string | null {
  if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) return node.text;
  if (!ts.isTaggedTemplateExpression(node)) return null;
  const { template } = node;
  return ts.isNoSubstitutionTemplateLiteral(template)
    ? template.text
    : template.head.text + template.templateSpans.map(({ literal }) => `{}${literal.text}`).join('');
}
