{{/* What everything of a release is called: "stagedoor" where the release is. */}}
{{- define "stagedoor.name" -}}
{{- if contains "stagedoor" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-stagedoor" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "stagedoor.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "stagedoor.origin" -}}
{{- printf "https://%s" (required "host: the public host name has to be said" .Values.host) -}}
{{- end -}}

{{/*
The services: their names in values, in Python, and in addresses, with their ports. `validation` is the token issuer's
service to the others, by processes that do nothing else. `console` answers browsers alone, and keeps nothing.
*/}}
{{- define "stagedoor.services" -}}
services:
  - {key: registry, module: registry, program: main, part: registry, http: 8401, grpc: 9401}
  - {key: identity, module: identity, program: main, part: identity, http: 8402, grpc: 9402}
  - {key: tokenIssuer, module: token_issuer, program: main, part: token-issuer, http: 8403, grpc: 9403}
{{- if .Values.resource.enabled }}
  - {key: resource, module: resource, program: main, part: resource, http: 8404, grpc: 9404}
{{- end }}
  - {key: ledger, module: ledger, program: main, part: ledger, http: 8405, grpc: 9405}
{{- if .Values.console.enabled }}
  - {key: console, module: console, program: main, part: console, http: 8407}
{{- end }}
{{- if .Values.validation.enabled }}
  - {key: validation, module: token_issuer, program: validating, part: validation, http: 8406, grpc: 9406}
{{- end }}
{{- end -}}

{{/* Labels that never change, by which pods are found: (dict "root" $ "part" "registry"). */}}
{{- define "stagedoor.selector" -}}
app.kubernetes.io/name: stagedoor
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "stagedoor.labels" -}}
{{ include "stagedoor.selector" . }}
app.kubernetes.io/part-of: stagedoor
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* The connection string of a login: (dict "root" $ "user" "registry"). */}}
{{- define "stagedoor.database" -}}
{{- $database := .root.Values.database -}}
{{- printf "postgresql://%s@%s:%v/%s?sslmode=verify-full&sslrootcert=/database/ca.crt" .user (required "database.host: the host of PostgreSQL has to be said" $database.host) $database.port $database.name -}}
{{- end -}}

{{- define "stagedoor.issuerName" -}}
{{- .Values.certificates.issuer.name | default (printf "%s-authority" (include "stagedoor.name" .)) -}}
{{- end -}}
