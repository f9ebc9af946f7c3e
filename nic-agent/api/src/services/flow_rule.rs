//! FlowRuleService.

use std::sync::Arc;

use nic_model::{Desired, Kind, Operation, Part, Reason, Resource, Spec, Violation};
use nic_proto::v1 as pb;
use nic_proto::v1::flow_rule_service_server::FlowRuleService;
use tonic::{Request, Response, Status};

use super::mask::each_field;
use crate::convert;
use crate::core::{Core, created, parse_id, parse_name, request_key};
use crate::failure::{Failure, Fault};
use crate::page::{Pages, take};
use crate::seam::Committed;

/// The fields of a flow rule's spec.
const FIELDS: &[&str] = &["flow", "priority"];

pub(crate) struct FlowRules(pub(crate) Arc<Core>);

impl FlowRules {
    async fn create(&self, request: &pb::CreateFlowRuleRequest) -> Result<Committed, Failure> {
        let key = request_key("CreateFlowRule", &request.request_id, &[request])?;
        let id = parse_id(Kind::FlowRule, "flowRuleId", &request.flow_rule_id)?;
        let spec = Spec::FlowRule(convert::parse_flow_rule(spec(request.flow_rule.as_ref())?)?);
        self.0.commit(Operation::Create(Desired { id, spec, etag: None }), key).await
    }

    async fn update(&self, request: &pb::UpdateFlowRuleRequest) -> Result<Committed, Failure> {
        let key = request_key("UpdateFlowRule", &request.request_id, &[request])?;
        let rule = request.flow_rule.as_ref();
        let rule = rule.ok_or_else(|| Fault::from(Violation::new(Part::Name, Reason::Required)))?;
        let id = parse_name(Kind::FlowRule, "name", &rule.name)?;
        let empty = pb::FlowRuleSpec::default();
        let wanted = rule.spec.as_ref().unwrap_or(&empty);
        each_field(request.update_mask.as_ref(), FIELDS, |_| ())?;
        let merge = |current: &Resource| {
            let Resource::FlowRule(current) = current else {
                return Err(Fault::not_found(&current.name()).into());
            };
            let mut merged = convert::flow_rule_spec(&current.spec);
            each_field(request.update_mask.as_ref(), FIELDS, |field| match field {
                "flow" => merged.flow.clone_from(&wanted.flow),
                _ => merged.priority = wanted.priority,
            })?;
            Ok(Spec::FlowRule(convert::parse_flow_rule(&merged)?))
        };
        self.0.update(&Kind::FlowRule.name(id), &rule.etag, key, merge).await
    }

    async fn delete(&self, request: &pb::DeleteFlowRuleRequest) -> Result<Committed, Failure> {
        let key = request_key("DeleteFlowRule", &request.request_id, &[request])?;
        let name = Kind::FlowRule.name(parse_name(Kind::FlowRule, "name", &request.name)?);
        let etag = Some(request.etag.clone()).filter(|etag| !etag.is_empty());
        self.0.commit(Operation::Delete { name, etag }, key).await
    }

    async fn get(&self, request: &pb::GetFlowRuleRequest) -> Result<pb::FlowRule, Failure> {
        let id = parse_name(Kind::FlowRule, "name", &request.name)?;
        let state = self.0.state();
        let rule = state.flow_rule(&id).ok_or_else(|| Fault::not_found(&Kind::FlowRule.name(id.clone())))?;
        Ok(convert::flow_rule(rule, &state, &self.0.observe_flows().await))
    }

    async fn list(&self, request: &pb::ListFlowRulesRequest) -> Result<pb::ListFlowRulesResponse, Failure> {
        let pages = Pages { kind: Kind::FlowRule, store: self.0.configuration.store_uuid() };
        let after = pages.after(&request.page_token)?;
        let state = self.0.state();
        let observed = self.0.observe_flows().await;
        let (page, more) = take(state.flow_rules_after(after.as_ref()), Pages::size(request.page_size));
        let next_page_token =
            page.last().filter(|_| more).map(|last| pages.token(&last.id)).unwrap_or_default();
        let flow_rules = page.into_iter().map(|rule| convert::flow_rule(rule, &state, &observed)).collect();
        Ok(pb::ListFlowRulesResponse { flow_rules, next_page_token, revision: state.revision().0 })
    }

    fn answer(&self, committed: &Committed) -> Result<pb::FlowRule, Failure> {
        match created(committed)? {
            Resource::FlowRule(rule) => Ok(convert::flow_rule(&rule, &self.0.state(), &self.0.observe())),
            other @ Resource::Port(_) => Err(Fault::not_found(&other.name()).into()),
        }
    }
}

/// The spec of a flow rule in a request.
pub(super) fn spec(rule: Option<&pb::FlowRule>) -> Result<&pb::FlowRuleSpec, Fault> {
    let spec = rule.and_then(|rule| rule.spec.as_ref());
    spec.ok_or_else(|| Violation::new(Part::Spec, Reason::Required).into())
}

#[tonic::async_trait]
impl FlowRuleService for FlowRules {
    async fn create_flow_rule(
        &self,
        request: Request<pb::CreateFlowRuleRequest>,
    ) -> Result<Response<pb::CreateFlowRuleResponse>, Status> {
        let committed = self.create(request.get_ref()).await?;
        let flow_rule = Some(self.answer(&committed)?);
        Ok(Response::new(pb::CreateFlowRuleResponse { flow_rule, revision: committed.revision.0 }))
    }

    async fn get_flow_rule(
        &self,
        request: Request<pb::GetFlowRuleRequest>,
    ) -> Result<Response<pb::FlowRule>, Status> {
        Ok(Response::new(self.get(request.get_ref()).await?))
    }

    async fn list_flow_rules(
        &self,
        request: Request<pb::ListFlowRulesRequest>,
    ) -> Result<Response<pb::ListFlowRulesResponse>, Status> {
        Ok(Response::new(self.list(request.get_ref()).await?))
    }

    async fn update_flow_rule(
        &self,
        request: Request<pb::UpdateFlowRuleRequest>,
    ) -> Result<Response<pb::UpdateFlowRuleResponse>, Status> {
        let committed = self.update(request.get_ref()).await?;
        let flow_rule = Some(self.answer(&committed)?);
        Ok(Response::new(pb::UpdateFlowRuleResponse { flow_rule, revision: committed.revision.0 }))
    }

    async fn delete_flow_rule(
        &self,
        request: Request<pb::DeleteFlowRuleRequest>,
    ) -> Result<Response<pb::DeleteFlowRuleResponse>, Status> {
        let committed = self.delete(request.get_ref()).await?;
        Ok(Response::new(pb::DeleteFlowRuleResponse { revision: committed.revision.0 }))
    }
}
